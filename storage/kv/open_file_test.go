package kv

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestOpenTakesEmptyFile opens a path where a program made an empty file to be sure of the name, by many at
// once: one database comes of it. A file with contents and any file for reading only are refused
// untouched.
func TestOpenTakesEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := Open(path, 0o600, &Options{ReadOnly: true}); err != ErrInvalid {
		t.Errorf("read-only: %v", err)
	}
	must(t, os.WriteFile(path, []byte("x"), 0o600))
	if _, err := Open(path, 0o600, nil); err != ErrInvalid {
		t.Errorf("a file with contents: %v", err)
	}
	must(t, os.WriteFile(path, nil, 0o600))
	const openers = 20
	var wg sync.WaitGroup
	for range openers {
		wg.Go(func() {
			db, err := Open(path, 0o600, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}()
			err = db.Update(func(tx *Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					return err
				}
				return created(b.NextSequence())
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db, err := Open(path, 0o600, nil)
	must(t, err)
	must(t, db.View(func(tx *Tx) error {
		if n := tx.Bucket([]byte("b")).Sequence(); n != openers {
			t.Errorf("sequence %d", n)
		}
		return nil
	}))
	must(t, db.Close())
}
