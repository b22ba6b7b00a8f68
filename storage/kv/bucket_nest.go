package kv

import (
	"bytes"
	"fmt"
)

// Bucket returns the bucket of that name, nil if there is none or the name is a key.
func (b *Bucket) Bucket(name []byte) *Bucket {
	if b.tx.db == nil || len(name) == 0 {
		return nil
	}
	return b.tx.openBucket(b.child(name, endBucket))
}

// CreateBucket creates an empty bucket with sequence 0. Buckets nest as deep as anybody can go: where
// the names on the way from the root add up to more than about 4 MiB it returns ErrKeyTooLarge.
func (b *Bucket) CreateBucket(name []byte) (*Bucket, error) {
	if err := b.checkCreate(name); err != nil {
		return nil, err
	}
	if b.holdsBucket(name) {
		return nil, ErrBucketExists
	}
	return b.create(name)
}

// CreateBucketIfNotExists returns the bucket of that name, which it creates if it is missing.
func (b *Bucket) CreateBucketIfNotExists(name []byte) (*Bucket, error) {
	if err := b.checkCreate(name); err != nil {
		return nil, err
	}
	if b.row.nests && !b.isNew(name) {
		if found := b.Bucket(name); found != nil {
			return found, nil
		}
	}
	return b.create(name)
}

func (b *Bucket) checkCreate(name []byte) error {
	if err := b.tx.checkWritable(); err != nil {
		return err
	}
	if len(name) == 0 {
		return ErrBucketNameRequired
	}
	if len(name) > MaxKeySize {
		return ErrKeyTooLarge
	}
	if !b.exists() {
		return ErrBucketNotFound
	}
	return nil
}

// create makes a bucket where there is none; the name may still be a key's.
func (b *Bucket) create(name []byte) (*Bucket, error) {
	if err := b.prepareNest(name); err != nil {
		return nil, err
	}
	key := b.child(name, endBucket)
	if err := b.tx.addBucketRow(key, bucketRow{}); err != nil {
		return nil, err
	}
	b.shape = b.tx.shape
	b.wrote(name)
	known := b.tx.handles.find(key)
	if known != nil {
		known.reload() // a handle from before the name's bucket was deleted
	} else {
		known = b.tx.newBucket(key, bucketRow{})
	}
	known.begin()
	return known, nil
}

// prepareNest makes ready for a bucket of that name: no key may have it, and the bucket's own row
// must say that buckets are inside.
func (b *Bucket) prepareNest(name []byte) error {
	if len(b.prefix) > maxHolderBytes {
		return ErrKeyTooLarge
	}
	if !b.isRoot() && !b.isNew(name) && b.tx.has(b.child(name, endKey)) {
		return ErrIncompatibleValue
	}
	if b.row.nests {
		return nil
	}
	row := b.row
	row.nests = true
	return b.setRow(row)
}

// DeleteBucket removes a bucket with everything in it. Handles of it and of buckets inside are
// dead: they hold nothing and refuse writes, until a bucket is created in their place.
func (b *Bucket) DeleteBucket(name []byte) error {
	if err := b.tx.checkWritable(); err != nil {
		return err
	}
	if err := b.checkNested(name); err != nil {
		return err
	}
	return b.tx.removeSpan(newSpan(b.child(name, endBucket)))
}

// checkNested returns nil if name is a bucket in this one.
func (b *Bucket) checkNested(name []byte) error {
	if len(name) == 0 || !b.exists() {
		return ErrBucketNotFound
	}
	if b.holdsBucket(name) {
		return nil
	}
	if b.tx.has(b.child(name, endKey)) {
		return ErrIncompatibleValue
	}
	return ErrBucketNotFound
}

// fewRows is how many rows are rather deleted one by one than by a range: ranges are dearer for
// later reads than the same few single deletions.
const fewRows = 32

// removeSpan deletes a bucket's own row and all rows inside.
func (tx *Tx) removeSpan(s span) error {
	rows, all := tx.firstRows(s, fewRows)
	deletion := 2*len(s.upper) + rowOverhead
	if all {
		deletion = 0
		for _, key := range rows {
			deletion += len(key) + rowOverhead
		}
	}
	if tx.writer.Bytes()+deletion > tx.db.engine.txBytesMax {
		return ErrTxTooLarge
	}
	tx.writes++
	tx.shape++
	tx.removed++
	tx.changed.span(s.prefix)
	if !all {
		return tx.writer.DeleteRange(s.prefix, s.upper)
	}
	for _, key := range rows {
		if err := tx.remove(key); err != nil {
			return err
		}
	}
	return nil
}

// firstRows returns the keys of a span's first rows, its own included, and whether these are all.
func (tx *Tx) firstRows(s span, limit int) (keys [][]byte, all bool) {
	it := tx.newIterator(s.prefix, s.upper)
	defer tx.freeIterator(it)
	ok := it.First()
	for ; ok && len(keys) < limit; ok = it.Next() {
		keys = append(keys, bytes.Clone(it.Key()))
	}
	if err := it.Error(); err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	return keys, !ok
}
