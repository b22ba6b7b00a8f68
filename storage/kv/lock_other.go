//go:build !unix

package kv

import (
	"errors"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tryLock uses what the file system layer offers.
func tryLock(vfsys vfs.FS, path string) (io.Closer, error) { return vfsys.Lock(path) }

// tryLockShared shares with nobody here.
func tryLockShared(vfsys vfs.FS, path string) (io.Closer, error) { return lockExisting(vfsys, path) }

// isLocked cannot tell a held lock from other faults here: creating the file is all that can
// fail, and a held lock is by far the likeliest reason. A missing file or right is another matter.
func isLocked(err error) bool {
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)
}
