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
// ErrIncompatibleValue.
func (b *Bucket) MoveBucket(key []byte, dst *Bucket) error {
	if b.tx.db == nil || dst.tx.db == nil {
		return ErrTxClosed
	}
	if !b.tx.writable || !dst.tx.writable {
		return ErrTxNotWritable
	}
	if b.tx != dst.tx {
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
	if err := dst.prepareNest(key); err != nil {
		return err
	}
	dst.wrote(key)
	if len(dst.prefix) > len(b.prefix) {
		if err := b.tx.checkDeeper(from, b.prefix, len(dst.prefix)-len(b.prefix)); err != nil {
			return err
		}
	}
	if err := b.tx.copySpan(from, bytes.Clone(dst.child(key, endBucket))); err != nil {
		return err
	}
	return b.tx.removeSpan(from)
}

// checkDeeper returns ErrKeyTooLarge if buckets in a span below parent would have too long a path, were theirs
// longer by so many bytes.
func (tx *Tx) checkDeeper(s span, parent []byte, by int) error {
	it := tx.newIterator(s.prefix, s.upper)
	defer tx.freeIterator(it)
	walk := newWalker(parent)
	for ok := it.First(); ok; ok = it.Next() {
		if _, err := walk.step(it.Key()); err != nil {
			return err
		}
		if walk.kind == kindBucket && len(walk.parent())+by > maxHolderBytes {
			return ErrKeyTooLarge
		}
	}
	if err := it.Error(); err != nil {
		panic(fmt.Errorf("kv: read: %w", err))
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
			panic(fmt.Errorf("kv: read: %w", err))
		}
		tx.keyBuf = append(append(tx.keyBuf[:0], prefix...), it.Key()[len(from.prefix):]...)
		if err := tx.set(tx.keyBuf, v); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		panic(fmt.Errorf("kv: read: %w", err))
	}
	tx.shape++
	tx.removed++
	tx.changed = true
	return nil
}
