//go:build !unix

package kv

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tryLock uses what the file system layer offers.
func tryLock(vfsys vfs.FS, path string) (io.Closer, error) { return vfsys.Lock(path) }

// isLocked cannot tell a held lock from other faults here: creating the file is all that can
// fail, and a held lock is by far the likeliest reason.
func isLocked(error) bool { return true }
