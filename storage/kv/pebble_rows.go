package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// pebbleView is a namespace at some commit. A writer is one, too: of the store itself, where nobody else writes
// the namespace.
type pebbleView struct {
	rows pebble.Reader
	snap *pebble.Snapshot // nil for a writer
	of   rowstore.Namespace
	gets getter
}

// Get returns a row.
func (v *pebbleView) Get(key []byte) (value []byte, held io.Closer, found bool, err error) {
	it, err := v.gets.iterator(v, key)
	if err != nil {
		return nil, nil, false, err
	}
	if it == nil {
		return lookupIn(v.rows, key)
	}
	// A row's prefix, as Pebble knows it, is its whole key.
	if found = it.SeekPrefixGE(key); found {
		value, err = it.ValueAndErr()
	} else {
		err = it.Error()
	}
	return value, nil, found, err
}

func lookupIn(r pebble.Reader, key []byte) (value []byte, held io.Closer, found bool, err error) {
	value, held, err = r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil, false, nil
	}
	return value, held, err == nil, err
}

// Iterate returns an iterator.
func (v *pebbleView) Iterate(lower, upper []byte) (rowstore.Iterator, error) {
	return pebbleIterate(v.rows, lower, upper)
}

// Stable returns false: Pebble's memory is valid until an iterator moves.
func (v *pebbleView) Stable() bool { return false }

// Close lets go of the snapshot.
func (v *pebbleView) Close() error {
	return errors.Join(v.gets.close(), v.snap.Close())
}

// getter serves reads of single rows of the state that a transaction began with. Rows in ascending order
// are read by an iterator, which remembers where in the tables it is; others are looked for level by
// level, so that the upper ones, if they have the row, spare the lower ones.
type getter struct {
	it     *pebble.Iterator
	last   []byte // the row read before
	rising int    // how many rows in a row came in ascending order
}

// risingMin is how many rows must rise before the iterator is used: few do in random order.
const risingMin = 4

// iterator returns the iterator to read a row with, nil if this is better read without.
func (g *getter) iterator(v *pebbleView, key []byte) (*pebble.Iterator, error) {
	if bytes.Compare(g.last, key) < 0 {
		g.rising++
	} else {
		g.rising = 0
	}
	g.last = append(g.last[:0], key...)
	if g.rising <= risingMin {
		return nil, nil
	}
	if g.it == nil {
		it, err := v.rows.NewIter(iterOptions(v.of.Lower, v.of.Upper))
		if err != nil {
			return nil, err
		}
		g.it = it
	}
	return g.it, nil
}

func (g *getter) close() error {
	if g.it != nil {
		_ = g.it.Close() // errors were reported when they arose
		g.it = nil
	}
	return nil
}

// pebbleWriter is a plain batch over the committed state, which is indexed when somebody wants to read it in
// order: puts do not pay for that, nor does who reads single rows.
type pebbleWriter struct {
	pebbleView
	store   *pebble.DB
	batch   *pebble.Batch
	indexed bool
	written writeIndex
}

// Get returns a row, if the batch has it from there.
func (w *pebbleWriter) Get(key []byte) (value []byte, held io.Closer, found bool, err error) {
	if w.batch.Empty() {
		return w.pebbleView.Get(key)
	}
	repr := w.batch.Repr()
	if !w.written.update(repr) {
		if _, err := w.Order(); err != nil {
			return nil, nil, false, err
		}
		return lookupIn(w.batch, key)
	}
	if value, found, known := w.written.find(repr, key); known {
		return value, nil, found, nil
	}
	return w.pebbleView.Get(key)
}

// Iterate returns an iterator over committed rows and, after Order, the writes.
func (w *pebbleWriter) Iterate(lower, upper []byte) (rowstore.Iterator, error) {
	if w.indexed {
		return pebbleIterate(w.batch, lower, upper)
	}
	return pebbleIterate(w.rows, lower, upper)
}

// Order copies the batch into an indexed one, once.
func (w *pebbleWriter) Order() (renewed bool, err error) {
	if w.indexed || w.batch.Empty() {
		return false, nil
	}
	return true, w.index()
}

func (w *pebbleWriter) index() error {
	batch := w.store.NewIndexedBatch()
	err := batch.Apply(w.batch, nil)
	if err = errors.Join(err, w.batch.Close()); err != nil {
		return fmt.Errorf("kv: index writes: %w", err) // memory only: a fault of this package
	}
	w.batch, w.indexed = batch, true
	w.written = writeIndex{}
	return nil
}

// Set writes a row.
func (w *pebbleWriter) Set(key, value []byte) error { return w.batch.Set(key, value, nil) }

// Delete deletes a row.
func (w *pebbleWriter) Delete(key []byte) error { return w.batch.Delete(key, nil) }

// DeleteRange deletes rows.
func (w *pebbleWriter) DeleteRange(lower, upper []byte) error {
	return w.batch.DeleteRange(lower, upper, nil)
}

// Bytes is the length of the batch.
func (w *pebbleWriter) Bytes() int { return w.batch.Len() }

// Commit applies the batch.
func (w *pebbleWriter) Commit(sync bool) error {
	if sync {
		return w.batch.Commit(pebble.Sync)
	}
	return w.batch.Commit(pebble.NoSync)
}

// Close frees the batch.
func (w *pebbleWriter) Close() error {
	return errors.Join(w.gets.close(), w.batch.Close())
}

// pebbleIterator is an iterator of a snapshot, a batch or the store.
type pebbleIterator struct{ *pebble.Iterator }

func pebbleIterate(r pebble.Reader, lower, upper []byte) (rowstore.Iterator, error) {
	it, err := r.NewIter(iterOptions(lower, upper))
	if err != nil {
		return nil, err
	}
	return pebbleIterator{it}, nil
}

// Reset sets other bounds; an iterator over a batch sees its writes so far.
func (i pebbleIterator) Reset(lower, upper []byte) { i.SetOptions(iterOptions(lower, upper)) }

// iterOptions returns the options of an iterator over [lower, upper).
func iterOptions(lower, upper []byte) *pebble.IterOptions {
	return &pebble.IterOptions{LowerBound: lower, UpperBound: upper}
}
