package boltrows

import (
	"bytes"
	"errors"
	"io"

	bolt "go.etcd.io/bbolt"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// view is a transaction of bbolt.
type view struct {
	store  *Store
	file   *file
	tx     *bolt.Tx
	bucket *bolt.Bucket
	// Rises with each write: cursors do not bear any.
	writes uint64
	bytes  int
}

func (s *Store) view(id uint64) (*view, error) { return s.begin(id, false) }

func (s *Store) begin(id uint64, writable bool) (*view, error) {
	f, err := s.use(id)
	if err != nil {
		return nil, err
	}
	tx, err := f.db.Begin(writable)
	if err != nil {
		return nil, errors.Join(err, s.letGo(f))
	}
	return &view{store: s, file: f, tx: tx, bucket: tx.Bucket(rowsName)}, nil
}

// View begins a reading transaction.
func (s *Store) View(n rowstore.Namespace) (rowstore.View, error) {
	v, err := s.view(n.ID)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Begin begins a writing transaction.
func (s *Store) Begin(n rowstore.Namespace) (rowstore.Writer, error) {
	v, err := s.begin(n.ID, true)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Get returns a row.
func (v *view) Get(key []byte) (value []byte, held io.Closer, found bool, err error) {
	value = v.bucket.Get(key)
	return value, nil, value != nil, nil
}

// Iterate returns an iterator.
func (v *view) Iterate(lower, upper []byte) (rowstore.Iterator, error) {
	return &iterator{view: v, cursor: v.bucket.Cursor(), lower: lower, upper: upper}, nil
}

// Stable returns true: bbolt's memory lives as long as the transaction.
func (v *view) Stable() bool { return true }

// Close ends the transaction.
func (v *view) Close() error {
	var err error
	if v.tx != nil {
		err = v.tx.Rollback()
	}
	return errors.Join(err, v.store.letGo(v.file))
}

// Set writes a row.
func (v *view) Set(key, value []byte) error {
	v.wrote(key, value)
	return put(v.bucket, key, value)
}

// Delete deletes a row.
func (v *view) Delete(key []byte) error {
	v.wrote(key, nil)
	return v.bucket.Delete(key)
}

// DeleteRange deletes rows, one by one: bbolt knows no other way.
func (v *view) DeleteRange(lower, upper []byte) error {
	v.wrote(lower, upper)
	var keys [][]byte
	cursor := v.bucket.Cursor()
	for key, _ := cursor.Seek(lower); key != nil && bytes.Compare(key, upper) < 0; key, _ = cursor.Next() {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if err := v.bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) wrote(key, value []byte) {
	v.writes++
	v.bytes += len(key) + len(value)
}

// Bytes is what was written.
func (v *view) Bytes() int { return v.bytes }

// Order does nothing: all writes can be read.
func (v *view) Order() (renewed bool, err error) { return false, nil }

// Commit commits.
func (v *view) Commit(sync bool) error {
	v.file.db.NoSync = !sync // only writers read it, and there is one
	tx := v.tx
	v.tx = nil
	return tx.Commit()
}

// iterator is a cursor that bears writes: it then looks for its place again.
type iterator struct {
	*view
	cursor       *bolt.Cursor
	lower, upper []byte
	key, value   []byte
	seen         uint64 // the view's writes when the cursor was placed
}

// First goes to the first row.
func (i *iterator) First() bool { return i.SeekGE(i.lower) }

// Last goes to the last row.
func (i *iterator) Last() bool { return i.SeekLT(i.upper) }

// Next goes to the next row.
func (i *iterator) Next() bool {
	if i.seen == i.writes {
		return i.take(i.cursor.Next())
	}
	i.seen = i.writes
	key, value := i.cursor.Seek(i.key)
	if bytes.Equal(key, i.key) {
		key, value = i.cursor.Next()
	}
	return i.take(key, value)
}

// Prev goes to the row before.
func (i *iterator) Prev() bool {
	if i.seen == i.writes {
		return i.take(i.before(i.key))
	}
	return i.SeekLT(i.key)
}

// SeekGE goes to a row, or behind where it would be.
func (i *iterator) SeekGE(key []byte) bool {
	if bytes.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	i.seen = i.writes
	return i.take(i.cursor.Seek(key))
}

// SeekLT goes before a row.
func (i *iterator) SeekLT(key []byte) bool {
	if bytes.Compare(key, i.upper) > 0 {
		key = i.upper
	}
	i.seen = i.writes
	if found, _ := i.cursor.Seek(key); found == nil {
		if found, value := i.cursor.Last(); found != nil {
			return i.take(found, value)
		}
	}
	return i.take(i.before(key))
}

// before moves the cursor back from where key is or would be.
func (i *iterator) before(key []byte) (found, value []byte) {
	for {
		found, value = i.cursor.Prev()
		if found != nil || i.writes == 0 {
			return found, value
		}
		// It stops at pages that this transaction emptied, too.
		if first, _ := i.bucket.Cursor().First(); first == nil || bytes.Compare(first, key) >= 0 {
			return nil, nil
		}
	}
}

// take takes the cursor's row, if it is within bounds.
func (i *iterator) take(key, value []byte) bool {
	if key == nil || bytes.Compare(key, i.lower) < 0 || bytes.Compare(key, i.upper) >= 0 {
		i.key, i.value = nil, nil
		return false
	}
	i.key, i.value = key, value
	return true
}

// Key is the row's.
func (i *iterator) Key() []byte { return i.key }

// ValueAndErr is the row's value.
func (i *iterator) ValueAndErr() ([]byte, error) { return i.value, nil }

// Error returns nil: bbolt's reads of files that are damaged panic.
func (i *iterator) Error() error { return nil }

// Reset sets other bounds.
func (i *iterator) Reset(lower, upper []byte) {
	i.lower, i.upper, i.key, i.value = lower, upper, nil, nil
}

// Close does nothing: cursors hold nothing.
func (i *iterator) Close() error { return nil }
