package kv

import (
	"bytes"
	"fmt"
)

// MoveBucket moves the bucket child from src to dst, where nil means the root. See
// Bucket.MoveBucket.
func (tx *Tx) MoveBucket(child []byte, src, dst *Bucket) error {
	if src == nil {
		src = &tx.root
	}
	if dst == nil {
		dst = &tx.root
	}
	return src.MoveBucket(child, dst)
}

// MoveBucket moves the bucket key from b to dst with everything inside, sequences too, as the
// transaction sees it. It rewrites every row. A bucket cannot be moved into itself, which gives
// ErrIncompatibleValue. After any error nothing has changed.
func (b *Bucket) MoveBucket(key []byte, dst *Bucket) error {
	tx := b.tx
	if tx.db == nil || dst.tx.db == nil {
		return ErrTxClosed
	}
	if !tx.writable || !dst.tx.writable {
		return ErrTxNotWritable
	}
	if tx != dst.tx {
		return ErrDifferentDB
	}
	if err := b.checkNested(key); err != nil {
		return err
	}
	if bytes.Equal(b.prefix, dst.prefix) {
		return ErrSameBuckets
	}
	if !dst.exists() {
		return ErrBucketNotFound
	}
	from := newSpan(b.child(key, endBucket))
	if bytes.HasPrefix(dst.prefix, from.prefix) {
		return ErrIncompatibleValue
	}
	if dst.holdsBucket(key) {
		return ErrBucketExists
	}
	if !dst.isRoot() && tx.has(dst.child(key, endKey)) {
		return ErrIncompatibleValue
	}
	to := bytes.Clone(dst.child(key, endBucket))
	if err := tx.checkMove(from, b.prefix, to); err != nil {
		return err
	}
	// From here on it fits: a move is made whole or not at all.
	if err := dst.prepareNest(key); err != nil {
		return err
	}
	dst.wrote(key)
	if err := tx.copySpan(from, to); err != nil {
		return err
	}
	return tx.removeSpan(from)
}

// checkMove returns ErrTxTooLarge if the bucket of a span, which is in that of the row key parent, cannot
// be moved to the row key to within this transaction, and ErrKeyTooLarge if a bucket inside would have
// too long a path there.
func (tx *Tx) checkMove(s span, parent, to []byte) error {
	it := tx.newIterator(s.prefix, s.upper)
	defer tx.freeIterator(it)
	by := len(to) - len(s.prefix)
	walk := newWalker(parent)
	// What prepareNest writes, and the deletion.
	need := len(to) + bucketRowLen + rowOverhead + 2*len(s.upper) + rowOverhead
	for rows, ok := 0, it.First(); ok; rows, ok = rows+1, it.Next() {
		if _, err := walk.step(it.Key()); err != nil {
			return err
		}
		if walk.kind == kindBucket && len(walk.parent())+by > maxHolderBytes {
			return ErrKeyTooLarge
		}
		value, err := it.ValueAndErr()
		if err != nil {
			panic(fmt.Errorf("%w: %w", ErrRead, err))
		}
		need += len(it.Key()) + by + len(value) + rowOverhead
		if rows < fewRows {
			need += len(it.Key()) + rowOverhead
		}
	}
	if err := it.Error(); err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	if tx.writer.Bytes()+need > tx.db.engine.txBytesMax {
		return ErrTxTooLarge
	}
	return nil
}

// copySpan writes all rows of a bucket, its own included, again under another prefix. The iterator
// does not see these writes.
func (tx *Tx) copySpan(from span, prefix []byte) error {
	it := tx.newIterator(from.prefix, from.upper)
	defer tx.freeIterator(it)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			panic(fmt.Errorf("%w: %w", ErrRead, err))
		}
		tx.keyBuf = append(append(tx.keyBuf[:0], prefix...), it.Key()[len(from.prefix):]...)
		if err := tx.set(tx.keyBuf, v); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	tx.shape++
	tx.removed++
	tx.changed.span(prefix)
	return nil
}
