package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Folder is a folder used as object store. Of a power failure in the middle of a
// Put remains the old object or the new one, and perhaps a file of another name
// that no list shows.
type Folder struct {
	root string
	// Makes what a directory lists durable; tests watch it and make it fail.
	sync func(directory string) error
}

var _ Bucket = (*Folder)(nil)

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

// existingFolder uses a folder that exists, without trying it.
func existingFolder(root string) (*Folder, error) {
	absolute, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("object folder: %w", err)
	}
	info, err := os.Stat(absolute)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", absolute)
	}
	if err != nil {
		return nil, fmt.Errorf("object folder: %w", err)
	}
	return &Folder{absolute, syncDirectory}, nil
}

// Path returns the folder's absolute path.
func (f *Folder) Path() string { return f.root }

// String returns the folder's absolute path.
func (f *Folder) String() string { return f.root }

// Check is Bucket's.
func (f *Folder) Check(ctx context.Context) error { return check(ctx, f) }

// Get is Bucket's.
func (f *Folder) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := checkLength(limit); err != nil {
		return nil, err
	}
	content, size, err := f.GetRange(ctx, name, 0, limit)
	if err == nil && size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrTooLarge, name, size, limit)
	}
	return content, err
}

// GetRange is Bucket's.
func (f *Folder) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, int64, error) {
	target, err := f.path(ctx, name)
	if err == nil {
		err = checkLength(length)
	}
	if err != nil {
		return nil, 0, err
	}
	// Looked at first: to open what is no file may wait for ever.
	if _, err := f.stat(target, name); err != nil {
		return nil, 0, err
	}
	file, err := os.Open(target)
	if err != nil {
		return nil, 0, f.notFound(err, name)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	from, to := bounds(info.Size(), offset, length)
	content := make([]byte, to-from)
	if _, err := file.ReadAt(content, from); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // it was not replaced, but cut
		}
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return content, info.Size(), nil
}

// Attributes is Bucket's.
func (f *Folder) Attributes(ctx context.Context, name string) (Attributes, error) {
	target, err := f.path(ctx, name)
	if err != nil {
		return Attributes{}, err
	}
	info, err := f.stat(target, name)
	if err != nil {
		return Attributes{}, err
	}
	return Attributes{Size: info.Size(), Modified: info.ModTime()}, nil
}

// stat returns what is known of an object's file. What is no file is no object.
func (f *Folder) stat(target, name string) (fs.FileInfo, error) {
	info, err := os.Stat(target)
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	return info, f.notFound(err, name)
}

// path returns where an object is kept.
func (f *Folder) path(ctx context.Context, name string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	local := filepath.FromSlash(name)
	if err := checkName(name); err != nil {
		return "", err
	}
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return filepath.Join(f.root, local), nil
}

// notFound tells an object that is not there from other faults. It is not there
// either if what would be its directory is an object. Of a folder that is gone
// itself, perhaps with its mount, nobody knows what is there.
func (f *Folder) notFound(err error, name string) error {
	if !missing(err) {
		return err
	}
	if err := f.present(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrNotFound, name)
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// present fails if there is no folder.
func (f *Folder) present() error {
	if info, err := os.Stat(f.root); err != nil || !info.IsDir() {
		return fmt.Errorf("the object folder %s is gone: is it mounted?", f.root)
	}
	return nil
}
