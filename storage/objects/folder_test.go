package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/skerrydb/skerry/storage/objects"
)

func TestFolder(t *testing.T) {
	ctx := t.Context()
	root := filepath.Join(t.TempDir(), "a", "b")
	folder, err := objects.OpenFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	const name = "segments/1/anonymous/01J8E68YM0Z2RRKCY9SYGX3054/block.bin"
	if _, err := folder.Get(ctx, name, 1<<20); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("before Put: %v", err)
	}
	for _, content := range [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("two"), 1000)} {
		if err := folder.Put(ctx, name, content); err != nil {
			t.Fatal(err)
		}
		reopened, err := objects.OpenFolder(root)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := reopened.Get(ctx, name, 1<<20); err != nil || !bytes.Equal(got, content) {
			t.Errorf("got %q, %v, want %q", got, err, content)
		}
	}
	if err := folder.Delete(ctx, name); err != nil {
		t.Fatal(err)
	}
	if err := folder.Delete(ctx, name); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("second Delete: %v", err)
	}
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			t.Errorf("%s is left behind", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFolderRefusesNames(t *testing.T) {
	root := t.TempDir()
	folder, err := objects.OpenFolder(filepath.Join(root, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../../x", "a//b", "a/", ".skerry-x", "a/.skerry-x"} {
		if err := folder.Put(t.Context(), name, nil); !errors.Is(err, objects.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestOpenFolderOnAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.OpenFolder(path); err == nil {
		t.Error("a file was opened as object folder")
	}
}

// A check does not touch what others keep, whatever they call it.
func TestCheckDisturbsNobody(t *testing.T) {
	root := t.TempDir()
	folder, err := objects.OpenFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Put(t.Context(), "skerry-check", []byte("mine")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if _, err := objects.OpenFolder(root); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got, err := folder.Get(t.Context(), "skerry-check", 1<<20); err != nil || string(got) != "mine" {
		t.Errorf("got %q, %v", got, err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestFolderHonoursContext(t *testing.T) {
	folder, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := folder.Put(ctx, "x", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Deletions take empty directories away, under the hands of those who write there.
func TestFolderWritersAndDeleters(t *testing.T) {
	folder, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for range 50 {
				name := fmt.Sprintf("a/b/%d", i)
				if err := folder.Put(t.Context(), name, []byte(name)); err != nil {
					t.Errorf("put: %v", err)
				}
				if got, err := folder.Get(t.Context(), name, 100); err != nil || string(got) != name {
					t.Errorf("got %q, %v", got, err)
				}
				if err := folder.Delete(t.Context(), name); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	all.Wait()
	if left, err := os.ReadDir(filepath.Join(folder.Path(), "a")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A list tells of no folder that could not be listed then.
func TestFoldersThatNobodyCanAskFor(t *testing.T) {
	root := t.TempDir()
	folder, err := objects.OpenFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Put(t.Context(), "dlq/1/a", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "dlq", "\xff"), 0o755); err != nil {
		t.Skip("the file system takes no such name:", err)
	}
	var names []string
	for entry, err := range folder.List(t.Context(), objects.ListOptions{Prefix: "dlq/", Delimited: true}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, entry.Name)
	}
	if len(names) != 1 || names[0] != "dlq/1/" {
		t.Errorf("%q", names)
	}
}

// Who takes a folder that is gone for an empty one takes all objects for lost.
func TestFolderThatIsGone(t *testing.T) {
	root := filepath.Join(t.TempDir(), "mount")
	folder, err := objects.OpenFolder(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, gotten := folder.Get(ctx, "a/b", 1)
	_, looked := folder.Attributes(ctx, "a/b")
	var listed error
	for _, err := range folder.List(ctx, objects.ListOptions{Prefix: "a/"}) {
		listed = err
	}
	for operation, err := range map[string]error{
		"get": gotten, "attributes": looked, "list": listed, "delete": folder.Delete(ctx, "a/b"), "put": folder.Put(ctx, "a/b", nil),
	} {
		if err == nil || errors.Is(err, objects.ErrNotFound) {
			t.Errorf("%s: %v", operation, err)
		}
	}
}
