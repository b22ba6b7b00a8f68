package kv

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestReadOnlyMount opens a store on a real mount that is read-only. It needs the right to mount and is
// skipped without.
func TestReadOnlyMount(t *testing.T) {
	top := t.TempDir()
	dir, mount := filepath.Join(top, "store"), filepath.Join(top, "mount")
	want := plantedStore(t, dir)
	must(t, os.Mkdir(mount, 0o755))
	if err := syscall.Mount(dir, mount, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("no right to mount: %v", err)
	}
	defer func() { must(t, syscall.Unmount(mount, 0)) }()
	if err := syscall.Mount("", mount, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("no right to mount read-only: %v", err)
	}
	if err := os.WriteFile(filepath.Join(mount, "x"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("the mount can be written: %v", err)
	}
	e, err := OpenEngine(mount, EngineOptions{ReadOnly: true})
	must(t, err)
	if err := e.Unlocked(); err != nil {
		t.Errorf("the lock is there and was not taken: %v", err)
	}
	if _, err := OpenEngine(dir, EngineOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a writer beside the reader: %v", err)
	}
	if dump(t, namespaceDB(t, e, 1)) != want {
		t.Error("contents differ")
	}
	must(t, e.Close())
	if _, err := OpenEngine(mount, EngineOptions{}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("opened to write: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, fileLock)))
	e, err = OpenEngine(mount, EngineOptions{ReadOnly: true})
	must(t, err)
	if e.Unlocked() == nil {
		t.Error("nothing can be locked and it says it is")
	}
	must(t, e.Close())
}
