package kv

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// frozenFS is a file system mounted read-only: whatever would change it fails.
type frozenFS struct{ vfs.FS }

func (f frozenFS) refuse(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: syscall.EROFS}
}

func (f frozenFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, f.refuse("create", name)
}
func (f frozenFS) OpenReadWrite(name string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, f.refuse("open", name)
}
func (f frozenFS) ReuseForWrite(_, name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, f.refuse("create", name)
}
func (f frozenFS) Link(_, name string) error                 { return f.refuse("link", name) }
func (f frozenFS) Remove(name string) error                  { return f.refuse("remove", name) }
func (f frozenFS) RemoveAll(name string) error               { return f.refuse("remove", name) }
func (f frozenFS) Rename(_, name string) error               { return f.refuse("rename", name) }
func (f frozenFS) MkdirAll(name string, _ os.FileMode) error { return f.refuse("mkdir", name) }
func (f frozenFS) Lock(name string) (io.Closer, error)       { return nil, f.refuse("lock", name) }

// TestReadOnlyFileSystem opens a store where nothing can be changed, as it was left by a clean stop and by a
// crash in each mode, with its lock file and without.
func TestReadOnlyFileSystem(t *testing.T) {
	for _, mode := range []Durability{NoWAL, WALNoSync, WALSync} {
		for what, stop := range map[string]func(*Engine) error{"closed": (*Engine).Close, "abandoned": (*Engine).Abandon} {
			for _, locked := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s lock file %t", mode, what, locked), func(t *testing.T) {
					mem := vfs.NewMem()
					e, err := OpenEngine("store", EngineOptions{FS: mem, Durability: mode})
					must(t, err)
					plant(t, namespaceDB(t, e, 1))
					must(t, e.Sync())
					want := dump(t, namespaceDB(t, e, 1))
					must(t, stop(e))
					if !locked {
						must(t, mem.Remove("store/LOCK"))
					}
					e, err = OpenEngine("store", EngineOptions{FS: frozenFS{mem}, ReadOnly: true})
					must(t, err)
					if e.Unlocked() == nil {
						t.Error("says it is locked")
					}
					if dump(t, namespaceDB(t, e, 1)) != want {
						t.Error("contents differ")
					}
					must(t, e.Close())
				})
			}
		}
	}
}

// TestReadOnlyMakesNothing opens a store of the real file system and compares its directory before and
// after.
func TestReadOnlyMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	want := plantedStore(t, dir)
	must(t, os.Remove(filepath.Join(dir, dirData, fileLock)))
	for _, unlocked := range []bool{false, true} {
		if unlocked {
			must(t, os.Remove(filepath.Join(dir, fileLock)))
		}
		before := listFiles(t, dir)
		e, err := OpenEngine(dir, EngineOptions{ReadOnly: true})
		must(t, err)
		if got := e.Unlocked(); (got != nil) != unlocked || unlocked && !errors.Is(got, fs.ErrNotExist) {
			t.Errorf("unlocked %t: %v", unlocked, got)
		}
		if dump(t, namespaceDB(t, e, 1)) != want {
			t.Error("contents differ")
		}
		if got := listFiles(t, dir); got != before {
			t.Errorf("while open\n%s\nbefore\n%s", got, before)
		}
		must(t, e.Close())
		if got := listFiles(t, dir); got != before {
			t.Errorf("after\n%s\nbefore\n%s", got, before)
		}
	}
}

// TestReadersShareTheLock opens a store twice to read: writers are kept out until both have closed.
func TestReadersShareTheLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	want := plantedStore(t, dir)
	refused := func(readOnly bool) {
		t.Helper()
		if e, err := OpenEngine(dir, EngineOptions{ReadOnly: readOnly}); !errors.Is(err, ErrInUse) {
			t.Errorf("read-only %t: got %v", readOnly, err)
			if err == nil {
				must(t, e.Close())
			}
		}
	}
	var readers [2]*Engine
	for i := range readers {
		e, err := OpenEngine(dir, EngineOptions{ReadOnly: true})
		must(t, err)
		readers[i] = e
	}
	for _, e := range readers {
		refused(false)
		if dump(t, namespaceDB(t, e, 1)) != want {
			t.Error("contents differ")
		}
		must(t, e.Close())
	}
	writer, err := OpenEngine(dir, EngineOptions{})
	must(t, err)
	refused(true)
	refused(false)
	must(t, writer.Close())
}

// plantedStore makes a store with something in namespace 1 and returns what.
func plantedStore(t *testing.T, dir string) (contents string) {
	t.Helper()
	e, err := OpenEngine(dir, EngineOptions{})
	must(t, err)
	plant(t, namespaceDB(t, e, 1))
	contents = dump(t, namespaceDB(t, e, 1))
	must(t, e.Close())
	return contents
}

// listFiles describes everything below a directory.
func listFiles(t *testing.T, dir string) (list string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err == nil {
			list += path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n"
		}
		return err
	}))
	return list
}
