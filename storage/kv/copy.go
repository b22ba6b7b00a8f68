package kv

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Restore makes a database at path, where nothing may be yet, out of a stream that WriteTo wrote.
// It leaves a complete database or nothing.
func Restore(path string, r io.Reader) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "restore", Path: path, Err: fs.ErrExist}
	}
	return restoreAt(path, 0o700, r)
}

// restoreAt builds the database beside its path and moves it there when it is whole.
func restoreAt(path string, mode os.FileMode, r io.Reader) error {
	building := path + ".restoring"
	if err := os.RemoveAll(building); err != nil {
		return err
	}
	if err := restoreInto(building, mode, r); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	if err := os.Rename(building, path); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	return syncParent(path)
}

func restoreInto(path string, mode os.FileMode, r io.Reader) error {
	db, err := Open(path, mode, nil)
	if err != nil {
		return err
	}
	return errors.Join(db.Restore(r), db.Close())
}

// CopyFile makes a database at path that equals what the transaction sees and is independent of
// it. A file or database that is there is replaced, anything else refused with ErrInvalid.
func (tx *Tx) CopyFile(path string, mode os.FileMode) error {
	if tx.db == nil {
		return ErrTxClosed
	}
	if err := removeReplaceable(path); err != nil {
		return err
	}
	r, w := io.Pipe()
	restored := make(chan error, 1)
	go func() {
		err := restoreAt(path, mode, r)
		r.CloseWithError(err) // ends the writer if it still writes
		restored <- err
	}()
	err := tx.Copy(w)
	w.CloseWithError(err)
	if restoreErr := <-restored; restoreErr != nil {
		return fmt.Errorf("kv: copy to %s: %w", path, restoreErr)
	}
	return err
}

// removeReplaceable removes a regular file or a database at path.
func removeReplaceable(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() {
		return os.Remove(path)
	}
	d := &engineDir{fs: vfs.Default, path: path}
	if _, err := d.inspect(); err != nil {
		return ErrInvalid
	}
	if d.lock, err = lockFile(vfs.Default, d.join(fileLock)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(path), d.close())
}
