package boltrows

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// Replace writes the rows to a file beside the namespace's and moves it there.
func (s *Store) Replace(n rowstore.Namespace, fill func(add func(key, value []byte) error) error, swap func(apply func() error) error) error {
	path := s.path(n.ID)
	if err := os.Remove(path + suffixNew); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := s.openAt(path + suffixNew)
	if err != nil {
		return err
	}
	w := &filler{db: db, limit: s.options.ReplaceBytes}
	if err = errors.Join(fill(w.add), w.end()); err == nil {
		err = db.Sync()
	}
	if err != nil {
		return errors.Join(err, db.Close(), os.Remove(path+suffixNew))
	}
	return swap(func() error { return s.move(n.ID, db) })
}

// move puts a file in the place of a namespace's. Its readers keep the one they have.
func (s *Store) move(id uint64, db *bolt.DB) error {
	path := s.path(id)
	if err := os.Rename(path+suffixNew, path); err != nil {
		return errors.Join(err, db.Close(), os.Remove(path+suffixNew))
	}
	s.mu.Lock()
	old := s.files[id]
	s.files[id] = &file{db: db}
	unused := false
	if old != nil {
		old.replaced = true
		unused = old.users == 0
	}
	s.mu.Unlock()
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	err = errors.Join(dir.Sync(), dir.Close())
	if unused {
		err = errors.Join(err, old.db.Close())
	}
	return err
}

// filler writes rows that come in order, in transactions of about limit bytes.
type filler struct {
	db     *bolt.DB
	limit  int
	tx     *bolt.Tx
	bucket *bolt.Bucket
	bytes  int
}

func (w *filler) add(key, value []byte) (err error) {
	if w.tx == nil {
		if w.tx, err = w.db.Begin(true); err != nil {
			return err
		}
		w.bucket = w.tx.Bucket(rowsName)
		w.bucket.FillPercent = replaceFill
	}
	if err := put(w.bucket, key, value); err != nil {
		return err
	}
	if w.bytes += len(key) + len(value); w.bytes > w.limit {
		return w.commit()
	}
	return nil
}

func (w *filler) commit() error {
	tx := w.tx
	w.tx, w.bucket, w.bytes = nil, nil, 0
	return tx.Commit()
}

// end commits the rest, also after an error: the file is then thrown away.
func (w *filler) end() error {
	if w.tx == nil {
		return nil
	}
	return w.commit()
}

// put copies the value: bbolt keeps it until the transaction ends.
func put(b *bolt.Bucket, key, value []byte) error {
	if err := b.Put(key, append(make([]byte, 0, len(value)), value...)); err != nil {
		return fmt.Errorf("boltrows: a row key of %d bytes and a value of %d: %w", len(key), len(value), err)
	}
	return nil
}
