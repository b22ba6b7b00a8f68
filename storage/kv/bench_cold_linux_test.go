package kv

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// dropFromPageCache writes out all files below a directory and has the kernel forget their pages.
func dropFromPageCache(b *testing.B, dir string) {
	must(b, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer func() { must(b, f.Close()) }()
		if err := f.Sync(); err != nil {
			return err
		}
		const dontNeed = 4 // POSIX_FADV_DONTNEED
		if _, _, fault := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, dontNeed, 0, 0); fault != 0 {
			return fault
		}
		return nil
	}))
}
