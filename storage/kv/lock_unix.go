//go:build unix

package kv

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tryLock uses flock on the real file system: unlike record locks it also excludes a second
// handle in the same process, and closing some other descriptor of the file does not drop it.
func tryLock(vfsys vfs.FS, path string) (io.Closer, error) {
	if vfs.Root(vfsys) != vfs.Default {
		return vfsys.Lock(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return flock(f, syscall.LOCK_EX)
}

// tryLockShared takes the lock together with others who take it so. It creates no file.
func tryLockShared(vfsys vfs.FS, path string) (io.Closer, error) {
	if vfs.Root(vfsys) != vfs.Default {
		return lockExisting(vfsys, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return flock(f, syscall.LOCK_SH)
}

func flock(f *os.File, how int) (io.Closer, error) {
	if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func isLocked(err error) bool {
	return errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EAGAIN)
}
