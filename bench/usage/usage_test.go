package usage

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFolderBytes(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"x": 1000, "a/y": 24} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Folder(dir); err != nil || got != 1024 {
		t.Errorf("%v bytes, %v", got, err)
	}
}
