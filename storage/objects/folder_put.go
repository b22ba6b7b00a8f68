package objects

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Deletions take empty directories away; a Put that is hit by that tries again.
// Each time needs a deletion to come between two system calls.
const putAttempts = 10

// Put is Bucket's.
func (f *Folder) Put(ctx context.Context, name string, content []byte) error {
	return f.put(ctx, name, content, os.Rename)
}

// PutIfAbsent is Bucket's.
func (f *Folder) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	err := f.put(ctx, name, content, func(from, to string) error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s", ErrExists, name)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS):
		return fmt.Errorf("%w: the file system of %s has no links: %w", ErrUnsupported, f.root, err)
	}
	return err
}

func (f *Folder) put(ctx context.Context, name string, content []byte, move func(from, to string) error) error {
	target, err := f.path(ctx, name)
	if err != nil {
		return err
	}
	for range putAttempts {
		err = f.putOnce(target, content, move)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

func (f *Folder) putOnce(target string, content []byte, move func(from, to string) error) error {
	if err := f.makeDirectories(f.root, filepath.Dir(target)); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(target), temporaryPrefix+"*")
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = move(file.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return f.sync(filepath.Dir(target))
}

// Delete is Bucket's. The object's own directory goes with it if it is empty now:
// blocks have one each, and lists would get slower for ever. Those above stay;
// they are few, and others are about to write there.
func (f *Folder) Delete(ctx context.Context, name string) error {
	target, err := f.path(ctx, name)
	if err != nil {
		return err
	}
	if _, err := f.stat(target, name); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil {
		return f.notFound(err, name)
	}
	if directory := filepath.Dir(target); directory != f.root {
		_ = os.Remove(directory) // mostly refused, as it holds something
	}
	return nil
}
