package objects

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// disk knows which entries of directories would be there after a power failure:
// those that were there when the directory was synced last.
type disk struct {
	mu      sync.Mutex
	entries map[string]map[string]bool
	fail    error
}

func (d *disk) sync(directory string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	listed, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	d.entries[directory] = map[string]bool{}
	for _, entry := range listed {
		d.entries[directory][entry.Name()] = true
	}
	return nil
}

// reaches tells whether a path can be followed down from a directory that was
// there before.
func (d *disk) reaches(above, path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; path != above; path = filepath.Dir(path) {
		if !d.entries[filepath.Dir(path)][filepath.Base(path)] {
			return false
		}
	}
	return true
}

func TestObjectsAreReachableAfterPowerFailure(t *testing.T) {
	above := t.TempDir()
	root := filepath.Join(above, "a", "b", "objects")
	d := &disk{entries: map[string]map[string]bool{}}
	folder, err := openFolder(root, d.sync)
	if err != nil {
		t.Fatal(err)
	}
	if !d.reaches(above, root) {
		t.Error("the folder itself would be lost")
	}
	for _, name := range []string{"top", "s/1/t/x/block.bin", "s/1/t/y/block.bin", "s/2/block.bin"} {
		if err := folder.Put(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
		if !d.reaches(above, filepath.Join(root, name)) {
			t.Errorf("%s would be lost", name)
		}
	}
}

// A directory may be there without being durable: its maker died, or has not
// come to the sync.
func TestDirectoriesOfOthersAreMadeDurable(t *testing.T) {
	root := t.TempDir()
	d := &disk{entries: map[string]map[string]bool{}}
	folder, err := openFolder(root, d.sync)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "s", "1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := folder.Put(t.Context(), "s/1/x", nil); err != nil {
		t.Fatal(err)
	}
	if !d.reaches(root, filepath.Join(root, "s", "1", "x")) {
		t.Error("the object would be lost")
	}
	// The same after a failure of its own.
	d.fail = errors.New("disk on fire")
	if err := folder.Put(t.Context(), "s/2/x", nil); !errors.Is(err, d.fail) {
		t.Errorf("got %v, want %v", err, d.fail)
	}
	d.fail = nil
	if err := folder.Put(t.Context(), "s/2/x", nil); err != nil {
		t.Fatal(err)
	}
	if !d.reaches(root, filepath.Join(root, "s", "2", "x")) {
		t.Error("the object would be lost after a repeat")
	}
}

func TestConcurrentPutsAreReachable(t *testing.T) {
	root := t.TempDir()
	d := &disk{entries: map[string]map[string]bool{}}
	folder, err := openFolder(root, d.sync)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, name := range []string{"s/1/a", "s/1/b", "s/1/c/a", "s/1/c/b", "s/2/a", "s/2/b"} {
		all.Go(func() {
			if err := folder.Put(t.Context(), name, nil); err != nil {
				t.Error(err)
			}
			if !d.reaches(root, filepath.Join(root, name)) {
				t.Errorf("%s would be lost", name)
			}
		})
	}
	all.Wait()
}

func TestFailedCheckLeavesNothing(t *testing.T) {
	d := &disk{entries: map[string]map[string]bool{}}
	folder, err := openFolder(t.TempDir(), d.sync)
	if err != nil {
		t.Fatal(err)
	}
	d.fail = errors.New("disk on fire")
	if err := folder.Check(t.Context()); !errors.Is(err, d.fail) {
		t.Errorf("got %v, want %v", err, d.fail)
	}
	if left, err := os.ReadDir(folder.Path()); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
