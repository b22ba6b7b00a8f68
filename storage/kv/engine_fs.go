package kv

import (
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skerrydb/skerry/storage/paced"
)

// storeFS is the file system the storage engine works on: it does not hammer a disk on which
// background work fails, and is watched for slow operations.
type storeFS struct {
	vfs.FS
	paced *paced.FS
	watch io.Closer
}

func newStoreFS(inner vfs.FS, slowAfter time.Duration, events *engineEvents) storeFS {
	s := storeFS{paced: paced.New(inner, &events.health.pace)}
	s.FS, s.watch = vfs.WithDiskHealthChecks(s.paced, slowAfter, nil, events.slowDisk)
	return s
}

// hurry ends all holding up, so that the storage engine can be closed.
func (s storeFS) hurry() { s.paced.Hurry() }

// free ends the watch, when nobody uses the file system any more.
func (s storeFS) free() error { return s.watch.Close() }

// unlockedFS gives out locks that lock nothing. A store that is opened read-only may lie where no file can
// be made, such as the one the storage engine below would lock; our own lock is around it.
type unlockedFS struct{ vfs.FS }

// Lock does nothing.
func (unlockedFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Unwrap returns the file system below.
func (u unlockedFS) Unwrap() vfs.FS { return u.FS }

// lockExisting takes the lock of a file system of its own kind, if its file is there: it would make one.
func lockExisting(vfsys vfs.FS, path string) (io.Closer, error) {
	if _, err := vfsys.Stat(path); err != nil {
		return nil, err
	}
	return vfsys.Lock(path)
}
