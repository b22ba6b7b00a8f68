package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Options are the settings of a database of its own. Nil means DefaultOptions.
type Options struct {
	// Timeout bounds how long Open waits for another handle to be closed. Zero: for ever.
	Timeout time.Duration

	// ReadOnly opens without changing anything. The database must exist.
	ReadOnly bool

	// NoSync is the first value of DB.NoSync.
	NoSync bool

	// Logger is what DB.Logger returns. Nothing is written to it.
	Logger Logger

	// The fields below exist for programs written for bbolt. They have no effect.
	NoGrowSync      bool
	NoFreelistSync  bool
	PreLoadFreelist bool
	FreelistType    FreelistType
	MmapFlags       int
	InitialMmapSize int
	PageSize        int
	Mlock           bool
	OpenFile        func(string, int, os.FileMode) (*os.File, error)
}

// DefaultOptions are used for nil options.
var DefaultOptions = &Options{FreelistType: FreelistArrayType}

// String lists the settings that have an effect.
func (o *Options) String() string {
	if o == nil {
		return "{}"
	}
	return fmt.Sprintf("{Timeout: %s, ReadOnly: %t, NoSync: %t}", o.Timeout, o.ReadOnly, o.NoSync)
}

// Settings of the engine under a database of its own: there may be many in one process.
const (
	aloneCacheBytes    = 64 << 20
	aloneMemTableBytes = 16 << 20
)

// Open opens the database in the directory path, creating the directory, but not its parents, if it
// is missing or an empty file; mode, with the right to enter added, is then the directory's. While another
// handle holds the directory Open waits. It returns ErrInvalid for a path that holds something else and
// ErrTimeout when Options.Timeout has passed. Unless NoSync is set, a commit that returned survives
// a crash of the machine.
func Open(path string, mode os.FileMode, options *Options) (*DB, error) {
	if options == nil {
		options = DefaultOptions
	}
	if err := makeDir(path, mode, options.ReadOnly); err != nil {
		return nil, err
	}
	e, err := openWaiting(path, options)
	if err != nil {
		return nil, err
	}
	db, err := e.DB(0)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	db.alone = true
	db.NoSync = options.NoSync
	db.logger = options.Logger
	return db, nil
}

// makeDir creates the directory if it is missing.
func makeDir(path string, mode os.FileMode, readOnly bool) error {
	if path == "" {
		return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Mode().IsRegular() && info.Size() == 0 && !readOnly:
		// Programs make a file of that name first, to be sure of it. Not os.Remove: it would
		// also remove the directory that another caller put there meanwhile.
		if err := syscall.Unlink(path); err != nil && !goneOrDirectory(path) {
			return err
		}
	case err == nil && !info.IsDir():
		return ErrInvalid
	case err == nil || readOnly:
		return err
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	enter := (mode & 0o444) >> 2
	if err := os.Mkdir(path, mode|enter|0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncParent(path)
}

// goneOrDirectory reports whether a file made way, whoever removed it.
func goneOrDirectory(path string) bool {
	info, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir()
}

func syncParent(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

const (
	lockWaitMin = time.Millisecond
	lockWaitMax = 20 * time.Millisecond
)

// openWaiting opens the engine, trying again while the directory is in use.
func openWaiting(path string, options *Options) (*Engine, error) {
	opts := EngineOptions{
		Durability:    WALSync,
		CacheBytes:    aloneCacheBytes,
		MemTableBytes: aloneMemTableBytes,
		ReadOnly:      options.ReadOnly,
	}
	begun := time.Now()
	for wait := lockWaitMin; ; wait = min(2*wait, lockWaitMax) {
		e, err := OpenEngine(path, opts)
		switch {
		case err == nil:
			return e, nil
		case errors.Is(err, ErrForeignDirectory):
			return nil, ErrInvalid
		case !errors.Is(err, ErrInUse):
			return nil, err
		case options.Timeout > 0 && time.Since(begun) >= options.Timeout:
			return nil, ErrTimeout
		}
		time.Sleep(wait)
	}
}
