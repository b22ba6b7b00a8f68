// Package objects is the object store. Here it is a local folder: the embedded
// default, for one node and for development.
//
// Names of objects are slash-separated paths, as in a bucket. An object appears
// whole or not at all, and is durable when Put returns.
package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

var (
	// ErrNotFound is returned for objects that do not exist.
	ErrNotFound = errors.New("object not found")
	// ErrName is returned for names that are no clean relative paths, or that
	// the store keeps for itself.
	ErrName = errors.New("bad object name")
)

// Files that are not complete yet; no object's last name begins so.
const temporaryPrefix = ".skerry-"

// Folder is a folder used as object store. Its methods may be called
// concurrently; of concurrent Puts of one name the last to end stands.
type Folder struct {
	root string
	// Makes what a directory lists durable; tests watch it and make it fail.
	sync func(directory string) error
}

// OpenFolder uses a folder, creating it if it is missing, after checking that
// objects can be written there.
func OpenFolder(root string) (*Folder, error) { return openFolder(root, syncDirectory) }

func openFolder(root string, sync func(string) error) (*Folder, error) {
	absolute, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("object folder: %w", err)
	}
	folder := &Folder{absolute, sync}
	if err := folder.makeRoot(); err != nil {
		return nil, fmt.Errorf("object folder: %w", err)
	}
	if err := folder.Check(context.Background()); err != nil {
		return nil, err
	}
	return folder, nil
}

// Path returns the folder's absolute path.
func (f *Folder) Path() string { return f.root }

// Check writes, reads and deletes a small object. Its name is a new one each
// time: it must not hit anybody's object, nor that of another process's check.
func (f *Folder) Check(ctx context.Context) (err error) {
	name := "skerry-check-" + rand.Text()
	defer func() {
		// A Put that failed may have left the object, and whoever asked may be
		// gone by now. The first fault says more than a second one here.
		if removed := f.Delete(context.WithoutCancel(ctx), name); err == nil {
			err = removed
		}
	}()
	want := []byte("skerry")
	if err := f.Put(ctx, name, want); err != nil {
		return fmt.Errorf("object folder %s cannot be written: %w", f.root, err)
	}
	got, err := f.Get(ctx, name)
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("it does not hold what was written")
	}
	if err != nil {
		return fmt.Errorf("object folder %s cannot be read: %w", f.root, err)
	}
	return nil
}

// Put stores an object, replacing one of that name.
func (f *Folder) Put(ctx context.Context, name string, content []byte) error {
	target, err := f.path(ctx, name)
	if err != nil {
		return err
	}
	if err := f.makeDirectories(f.root, filepath.Dir(target)); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(target), temporaryPrefix+"*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return f.sync(filepath.Dir(target))
}

// Get returns an object's content, or ErrNotFound.
func (f *Folder) Get(ctx context.Context, name string) ([]byte, error) {
	target, err := f.path(ctx, name)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(target)
	return content, notFound(err, name)
}

// Delete removes an object, or returns ErrNotFound.
func (f *Folder) Delete(ctx context.Context, name string) error {
	target, err := f.path(ctx, name)
	if err != nil {
		return err
	}
	return notFound(os.Remove(target), name)
}

// path refuses everything that could lead out of the folder.
func (f *Folder) path(ctx context.Context, name string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(path.Base(name), temporaryPrefix) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return filepath.Join(f.root, filepath.FromSlash(name)), nil
}

func notFound(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	return err
}
