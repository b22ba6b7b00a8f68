package kv

import (
	"fmt"
	"io"
)

// order makes the writes so far readable in order. Iterators that can never see them are closed: cursors
// will seek with new ones.
func (tx *Tx) order() {
	if tx.writes == 0 {
		return
	}
	renewed, err := tx.writer.Order()
	if err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	if renewed {
		tx.iters.close()
	}
}

// lookup returns a row's value, valid until the next read. If held is not nil it must be closed.
func (tx *Tx) lookup(key []byte) (value []byte, held io.Closer, found bool) {
	value, held, found, err := tx.rows.Get(key)
	if err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	return value, held, found
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
	cached := !tx.changed.has(key)
	if cached {
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
	if cached {
		cache.put(tx.version, key, row)
	}
	return row, true
}
