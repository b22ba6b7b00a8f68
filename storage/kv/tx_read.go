package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// committed returns the state the transaction began with. For a writing one that is the store itself,
// where nobody else writes its namespace.
func (tx *Tx) committed() pebble.Reader {
	if tx.snap != nil {
		return tx.snap
	}
	return tx.db.engine.pebble
}

// reader returns what the transaction sees, its writes included, to be read in order. The writes are
// not indexed until somebody wants that: puts do not pay for it, nor does who reads single rows.
func (tx *Tx) reader() pebble.Reader {
	if tx.writes == 0 {
		return tx.committed()
	}
	if !tx.indexed {
		tx.index()
	}
	return tx.batch
}

// index makes the writes readable in order.
func (tx *Tx) index() {
	batch := tx.db.engine.pebble.NewIndexedBatch()
	err := batch.Apply(tx.batch, nil)
	if err = errors.Join(err, tx.batch.Close()); err != nil {
		panic(fmt.Errorf("kv: index writes: %w", err)) // memory only: a fault of this package
	}
	tx.batch, tx.indexed = batch, true
	tx.written = writeIndex{}
	// They read the store and can never see the writes.
	tx.iters.close()
}

// getter serves a transaction's reads of single rows of the state it began with. Rows in ascending order
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
func (g *getter) iterator(tx *Tx, key []byte) *pebble.Iterator {
	if bytes.Compare(g.last, key) < 0 {
		g.rising++
	} else {
		g.rising = 0
	}
	g.last = append(g.last[:0], key...)
	if g.rising <= risingMin {
		return nil
	}
	if g.it == nil {
		it, err := tx.committed().NewIter(iterOptions(tx.root.prefix, tx.root.upper))
		if err != nil {
			panic(fmt.Errorf("%w: %w", ErrRead, err))
		}
		g.it = it
	}
	return g.it
}

func (g *getter) close() {
	if g.it != nil {
		_ = g.it.Close() // errors were reported when they arose
	}
	*g = getter{}
}

// lookup returns a row's value, valid until the next read. If held is not nil it must be closed.
func (tx *Tx) lookup(key []byte) (value []byte, held io.Closer, found bool) {
	if tx.writes == 0 {
		return tx.lookupCommitted(key)
	}
	repr := tx.batch.Repr()
	if !tx.written.update(repr) {
		return lookupIn(tx.reader(), key)
	}
	if value, found, known := tx.written.find(repr, key); known {
		return value, nil, found
	}
	return tx.lookupCommitted(key)
}

// lookupCommitted is lookup in the state the transaction began with.
func (tx *Tx) lookupCommitted(key []byte) (value []byte, held io.Closer, found bool) {
	it := tx.gets.iterator(tx, key)
	if it == nil {
		return lookupIn(tx.committed(), key)
	}
	var err error
	// A row's prefix, as the storage engine knows it, is its whole key.
	if found = it.SeekPrefixGE(key); found {
		value, err = it.ValueAndErr()
	} else {
		err = it.Error()
	}
	if err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	return value, nil, found
}

func lookupIn(r pebble.Reader, key []byte) (value []byte, held io.Closer, found bool) {
	value, held, err := r.Get(key)
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	return value, held, err == nil
}

func letGo(held io.Closer) {
	if held == nil {
		return
	}
	if err := held.Close(); err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
}

// get returns a copy of a row's value that lives as long as the transaction.
func (tx *Tx) get(key []byte) (value []byte, found bool) {
	v, held, found := tx.lookup(key)
	if found {
		value = tx.arena.copy(v)
		letGo(held)
	}
	return value, found
}

// has reports whether a row exists.
func (tx *Tx) has(key []byte) bool {
	_, held, found := tx.lookup(key)
	letGo(held)
	return found
}

// getBucketRow returns a bucket's own row.
func (tx *Tx) getBucketRow(key []byte) (row bucketRow, found bool) {
	cache := &tx.db.ns.buckets
	if !tx.changed {
		if row, found = cache.get(tx.version, key); found {
			return row, true
		}
	}
	v, held, found := tx.lookup(key)
	if !found {
		return bucketRow{}, false
	}
	row, err := decodeBucketRow(v)
	letGo(held)
	if err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	if !tx.changed {
		cache.put(tx.version, key, row)
	}
	return row, true
}
