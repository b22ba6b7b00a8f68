package kv

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What an engine's directory holds.
const (
	fileFormat    = "FORMAT"     // first written, never changed: says whose directory this is
	fileFormatNew = "FORMAT.new" // the same before its rename
	fileLock      = "LOCK"       // held while open
	dirData       = "data"       // the storage engine's files
	dirScratch    = "scratch"    // tables under construction; emptied at opening
)

const (
	formatName    = "skerry-kv"
	formatVersion = 1
)

// engineDir is a locked directory that holds a store of a format we know.
type engineDir struct {
	fs   vfs.FS
	path string
	lock io.Closer // nil if the directory is not locked

	unlocked error // why it is not: nothing can be written there, to open it read-only
}

// openDir checks, locks and if needed sets up the directory. A directory that is refused is left
// as it was found, and so is one that is opened read-only: its lock is shared with others who read
// and taken only if its file is there and can be opened.
func openDir(vfsys vfs.FS, path string, readOnly bool) (*engineDir, error) {
	if path == "" {
		return nil, errors.New("kv: empty path")
	}
	d := &engineDir{fs: vfsys, path: path}
	found, err := d.inspect()
	if err != nil {
		return nil, err
	}
	if !found {
		if readOnly {
			return nil, fmt.Errorf("kv: open %s read-only: no store here: %w", path, fs.ErrNotExist)
		}
		if err := vfsys.MkdirAll(path, 0o755); err != nil {
			return nil, fmt.Errorf("kv: create %s: %w", path, err)
		}
	}
	if readOnly {
		return d, d.lockShared()
	}
	if d.lock, err = lockFile(vfsys, d.join(fileLock)); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// lockShared locks the directory against those who would write, if that can be done.
func (d *engineDir) lockShared() error {
	lock, err := tryLockShared(d.fs, d.join(fileLock))
	switch {
	case err == nil:
		d.lock = lock
	case isLocked(err):
		return fmt.Errorf("kv: lock %s: %w", d.join(fileLock), ErrInUse)
	default:
		d.unlocked = fmt.Errorf("kv: lock %s: %w", d.join(fileLock), err)
	}
	return nil
}

func (d *engineDir) join(name ...string) string {
	return d.fs.PathJoin(append([]string{d.path}, name...)...)
}

func (d *engineDir) close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// inspect reports whether the directory holds a store. It changes nothing.
func (d *engineDir) inspect() (found bool, err error) {
	info, err := d.fs.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("kv: open: %w", err)
	}
	if !info.IsDir() {
		return false, fmt.Errorf("kv: %s is a file: %w", d.path, ErrForeignDirectory)
	}
	names, err := d.fs.List(d.path)
	if err != nil {
		return false, fmt.Errorf("kv: list %s: %w", d.path, err)
	}
	foreign := ""
	for _, name := range names {
		switch name {
		case fileFormat:
			return true, d.checkFormat()
		case fileLock, fileFormatNew:
			// Left by a crash while the directory was being set up.
		default:
			foreign = name
		}
	}
	if foreign != "" {
		return false, fmt.Errorf("kv: %s contains %q: %w; give a new or empty directory",
			d.path, foreign, ErrForeignDirectory)
	}
	return false, nil
}

// checkFormat reads the marker file.
func (d *engineDir) checkFormat() error {
	f, err := d.fs.Open(d.join(fileFormat))
	if err != nil {
		return fmt.Errorf("kv: read format: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("kv: read format: %w", err)
	}
	name, number, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	version, err := strconv.Atoi(number)
	if name != formatName || err != nil || version < 1 {
		return fmt.Errorf("kv: %s has an unreadable %s file: %w", d.path, fileFormat, ErrForeignDirectory)
	}
	if version > formatVersion {
		return fmt.Errorf("kv: %s has format %d, this binary reads up to %d: %w; start a newer binary",
			d.path, version, formatVersion, ErrNewerFormat)
	}
	return nil
}

// prepare runs under the lock: it looks again, writes the marker if there is none and clears the
// scratch directory.
func (d *engineDir) prepare() error {
	found, err := d.inspect()
	if err != nil {
		return err
	}
	if !found {
		if err := d.writeFormat(); err != nil {
			return fmt.Errorf("kv: mark %s: %w", d.path, err)
		}
	}
	if err := d.fs.RemoveAll(d.join(dirScratch)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kv: clear scratch: %w", err)
	}
	return nil
}

// writeFormat writes the marker durably, whole or not at all.
func (d *engineDir) writeFormat() error {
	f, err := d.fs.Create(d.join(fileFormatNew), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %d\n", formatName, formatVersion)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(d.join(fileFormatNew), d.join(fileFormat)); err != nil {
		return err
	}
	if err := syncDir(d.fs, d.path); err != nil {
		return err
	}
	return syncDir(d.fs, d.fs.PathDir(d.path))
}

// syncDir makes the names in a directory durable.
func syncDir(vfsys vfs.FS, path string) error {
	dir, err := vfsys.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lockFile takes the lock or returns ErrInUse at once.
func lockFile(vfsys vfs.FS, path string) (io.Closer, error) {
	lock, err := tryLock(vfsys, path)
	if err == nil {
		return lock, nil
	}
	if isLocked(err) {
		return nil, fmt.Errorf("kv: lock %s: %w", path, ErrInUse)
	}
	return nil, fmt.Errorf("kv: lock %s: %w", path, err)
}
