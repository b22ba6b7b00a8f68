package kv

import (
	"io"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// pacedFS is the file system the storage engine works on. It holds up the making of new tables while
// background work fails, so that a full or broken disk is not hammered. Everything else goes on
// at once.
type pacedFS struct {
	vfs.FS
	health *health
	closed chan struct{}
}

// storeFS is a pacedFS watched for slow operations.
type storeFS struct {
	vfs.FS
	paced *pacedFS
	watch io.Closer
}

func newStoreFS(inner vfs.FS, slowAfter time.Duration, events *engineEvents) storeFS {
	s := storeFS{paced: &pacedFS{FS: inner, health: &events.health, closed: make(chan struct{})}}
	s.FS, s.watch = vfs.WithDiskHealthChecks(s.paced, slowAfter, nil, events.slowDisk)
	return s
}

// hurry ends all holding up, so that the storage engine can be closed.
func (s storeFS) hurry() { close(s.paced.closed) }

// free ends the watch, when nobody uses the file system any more.
func (s storeFS) free() error { return s.watch.Close() }

// Create makes a file, after a while if it is a table and the last one failed.
func (p *pacedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if delay := p.health.retryDelay(); delay > 0 && strings.HasSuffix(name, ".sst") {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.closed:
		}
	}
	return p.FS.Create(name, category)
}

// Unwrap returns the file system below.
func (p *pacedFS) Unwrap() vfs.FS { return p.FS }

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
