package kv

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// reader returns what the transaction reads from. As long as a writing transaction has written
// nothing that is the store itself, where nobody else writes its namespace. The writes are not
// indexed until somebody wants to read them: puts that are never read back do not pay for it.
func (tx *Tx) reader() pebble.Reader {
	switch {
	case tx.snap != nil:
		return tx.snap
	case tx.writes == 0:
		return tx.db.engine.pebble
	case !tx.indexed:
		tx.index()
	}
	return tx.batch
}

// index makes the writes readable.
func (tx *Tx) index() {
	batch := tx.db.engine.pebble.NewIndexedBatch()
	err := batch.Apply(tx.batch, nil)
	if err = errors.Join(err, tx.batch.Close()); err != nil {
		panic(fmt.Errorf("kv: index writes: %w", err)) // memory only: a fault of this package
	}
	tx.batch, tx.indexed = batch, true
	// They read the store and can never see the writes.
	tx.closeIterators()
}

// getter serves a transaction's reads of single rows. The first goes to the tables directly; from
// the second on they share an iterator, which remembers where in the tables it is: that is cheaper
// for any order of keys and much cheaper for an ascending one.
type getter struct {
	it     *pebble.Iterator
	seen   uint64 // the transaction's writes that the iterator sees
	before bool   // there was a read
	writes uint64 // the transaction's writes at the latest read without the iterator
}

// iterator returns the iterator to read with, nil if this read is better made without.
func (g *getter) iterator(tx *Tx) *pebble.Iterator {
	if g.it != nil && g.seen == tx.writes {
		return g.it
	}
	if !g.before || g.writes != tx.writes {
		g.before, g.writes = true, tx.writes
		return nil
	}
	opts := iterOptions(tx.root.prefix, tx.root.upper)
	if r := tx.reader(); g.it != nil {
		g.it.SetOptions(opts)
	} else {
		it, err := r.NewIter(opts)
		if err != nil {
			panic(fmt.Errorf("kv: read: %w", err))
		}
		g.it = it
	}
	g.seen = tx.writes
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
	var err error
	if it := tx.gets.iterator(tx); it != nil {
		// A row's prefix, as the storage engine knows it, is its whole key.
		if found = it.SeekPrefixGE(key); found {
			value, err = it.ValueAndErr()
		} else {
			err = it.Error()
		}
	} else {
		value, held, err = tx.reader().Get(key)
		found = err == nil
		if errors.Is(err, pebble.ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		panic(fmt.Errorf("kv: read: %w", err))
	}
	return value, held, found
}

func letGo(held io.Closer) {
	if held == nil {
		return
	}
	if err := held.Close(); err != nil {
		panic(fmt.Errorf("kv: read: %w", err))
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
		panic(fmt.Errorf("kv: read: %w", err))
	}
	if !tx.changed {
		cache.put(tx.version, key, row)
	}
	return row, true
}
