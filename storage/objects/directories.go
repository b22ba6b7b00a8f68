package objects

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// makeRoot makes the missing part of the folder's path. What exists above it is
// not ours, perhaps not even readable, and is left alone.
func (f *Folder) makeRoot() error {
	existing := f.root
	for {
		_, err := os.Stat(existing)
		if err == nil {
			return f.makeDirectories(existing, f.root)
		}
		if !errors.Is(err, fs.ErrNotExist) || existing == filepath.Dir(existing) {
			return err
		}
		existing = filepath.Dir(existing)
	}
}

// makeDirectories makes the directories below one that exists, down to the last.
// Each is made durable in its parent before the next one is made, so a crash
// leaves a shorter path, never an object that cannot be reached.
//
// Parents are synced also if the directory is there: another Put, or a process
// that died, may have made it and not come to the sync. Remembering which ones
// are safe would save that, but needs a bound, since names can have a directory
// for each object.
func (f *Folder) makeDirectories(existing, last string) error {
	below, err := filepath.Rel(existing, last)
	if err != nil || below == "." {
		return err
	}
	parent := existing
	for _, name := range strings.Split(below, string(filepath.Separator)) {
		child := filepath.Join(parent, name)
		if err := os.Mkdir(child, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := f.sync(parent); err != nil {
			return err
		}
		parent = child
	}
	return nil
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
