package kv

import "bytes"

// DefaultFillPercent exists for programs written for bbolt.
const DefaultFillPercent = 0.5

// Bucket is a sorted set of keys with values and of buckets, by name. All handles of one bucket in
// a transaction share its state. A handle is for the transaction's goroutine and its life.
type Bucket struct {
	// FillPercent exists for programs written for bbolt. It has no effect.
	FillPercent float64

	tx *Tx
	span

	// The bucket's own row, as it was when the transaction's shape was that of the field.
	row   bucketRow
	alive bool
	shape uint64

	// A bucket that this transaction created holds only what it wrote, all of it through this
	// handle; a name beyond the greatest written so far is then in use by nothing, which saves
	// looking.
	fresh   bool
	removed uint64 // the transaction's when the bucket was created
	top     []byte // the greatest name written
	used    bool   // found in the list of handles since that last made room
}

// isNew reports whether it is certain without looking that the bucket holds no such name.
func (b *Bucket) isNew(name []byte) bool {
	return b.fresh && bytes.Compare(name, b.top) > 0
}

// wrote notes that a name was written.
func (b *Bucket) wrote(name []byte) {
	if b.isNew(name) {
		b.top = append(b.top[:0], name...)
	}
}

// begin makes the handle that of a bucket just created.
func (b *Bucket) begin() {
	b.fresh, b.removed, b.top = true, b.tx.removed, b.top[:0]
}

// Tx returns the transaction the handle belongs to.
func (b *Bucket) Tx() *Tx { return b.tx }

// Writable reports whether the bucket may be written.
func (b *Bucket) Writable() bool { return b.tx.writable }

// Cursor returns a cursor over the bucket, not yet placed.
func (b *Bucket) Cursor() *Cursor { return &Cursor{bucket: b} }

// LendingCursor returns a cursor whose keys and values are not copied: they are valid until its next
// move or Release, or a write of the transaction. bbolt has no such cursor.
func (b *Bucket) LendingCursor() *Cursor { return &Cursor{bucket: b, lending: true} }

// PrefixCursor returns a LendingCursor over the names that begin with a prefix alone: coming to their
// end it does not look at what lies behind, where many rows may have been deleted lately.
func (b *Bucket) PrefixCursor(prefix []byte) *Cursor {
	c := b.LendingCursor()
	if len(prefix) > 0 {
		c.lower = appendName(bytes.Clone(b.prefix), prefix)
		c.upper = prefixEnd(c.lower)
	}
	return c
}

// HeadCursor is PrefixCursor for a queue: names that are deleted from the first one on, while
// greater ones come. First then costs the same however many were deleted lately. It is of use to
// reading transactions, and of two prefixes that overlap only to the one that was walked first.
func (b *Bucket) HeadCursor(prefix []byte) *Cursor {
	c := b.PrefixCursor(prefix)
	c.head = !b.tx.writable
	return c
}

func (b *Bucket) isRoot() bool { return b == &b.tx.root }

// exists reports whether the bucket still exists, and brings the copy of its row up to date.
// The root always exists and needs none: its row holds a sequence at most.
func (b *Bucket) exists() bool {
	if b.isRoot() {
		return true
	}
	if b.shape != b.tx.shape {
		b.reload()
	}
	return b.alive
}

func (b *Bucket) reload() {
	b.row, b.alive = b.tx.getBucketRow(b.prefix)
	b.shape = b.tx.shape
	b.fresh = b.fresh && b.removed == b.tx.removed
}

// child returns the row key of a name in the bucket, valid until the next row key is made.
func (b *Bucket) child(name []byte, end byte) []byte {
	key := append(b.tx.keyBuf[:0], b.prefix...)
	key = appendElement(key, name, end)
	b.tx.keyBuf = key
	return key
}

// holdsBucket reports whether name is a bucket in this one. exists must have been called.
func (b *Bucket) holdsBucket(name []byte) bool {
	return b.row.nests && !b.isNew(name) && b.tx.has(b.child(name, endBucket))
}

// Get returns the value of a key, nil if there is none or the name is a bucket's. The value is
// read-only and valid until the transaction ends.
func (b *Bucket) Get(key []byte) []byte {
	if b.tx.db == nil || len(key) == 0 {
		return nil
	}
	v, _ := b.tx.get(b.child(key, endKey))
	return v
}

// Peek calls fn with the value of a key, which is not copied: it is valid until fn returns, which must
// not read the transaction. It reports false, without a call, if Get would return nil.
func (b *Bucket) Peek(key []byte, fn func(value []byte)) bool {
	if b.tx.db == nil || len(key) == 0 {
		return false
	}
	value, held, found := b.tx.lookup(b.child(key, endKey))
	if found {
		fn(value)
		letGo(held)
	}
	return found
}

// Put sets the value of a key. Both are copied.
func (b *Bucket) Put(key, value []byte) error {
	if err := b.tx.checkWritable(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	if int64(len(value)) > MaxValueSize {
		return ErrValueTooLarge
	}
	if !b.exists() {
		return ErrBucketNotFound
	}
	if b.isRoot() || b.holdsBucket(key) {
		return ErrIncompatibleValue
	}
	if err := b.tx.set(b.child(key, endKey), value); err != nil {
		return err
	}
	b.wrote(key)
	return nil
}

func checkKey(key []byte) error {
	if len(key) == 0 {
		return ErrKeyRequired
	}
	if len(key) > MaxKeySize {
		return ErrKeyTooLarge
	}
	return nil
}

// Delete removes a key. A missing key is no error.
func (b *Bucket) Delete(key []byte) error {
	if err := b.tx.checkWritable(); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > MaxKeySize || !b.exists() {
		return nil
	}
	if b.holdsBucket(key) {
		return ErrIncompatibleValue
	}
	return b.tx.remove(b.child(key, endKey))
}

// Sequence returns the bucket's counter.
func (b *Bucket) Sequence() uint64 {
	if b.tx.db == nil {
		return b.row.sequence
	}
	if b.isRoot() {
		row, _ := b.tx.getBucketRow(b.prefix)
		return row.sequence
	}
	b.exists()
	return b.row.sequence
}

// SetSequence sets the bucket's counter.
func (b *Bucket) SetSequence(v uint64) error {
	if err := b.tx.checkWritable(); err != nil {
		return err
	}
	if !b.exists() {
		return ErrBucketNotFound
	}
	row := b.row
	row.sequence = v
	return b.setRow(row)
}

// NextSequence adds one to the bucket's counter and returns it.
func (b *Bucket) NextSequence() (uint64, error) {
	if err := b.tx.checkWritable(); err != nil {
		return 0, err
	}
	v := b.Sequence() + 1
	if err := b.SetSequence(v); err != nil {
		return 0, err
	}
	return v, nil
}

// setRow writes the bucket's own row. exists must have been called.
func (b *Bucket) setRow(row bucketRow) error {
	if err := b.tx.setBucketRow(b.prefix, row); err != nil {
		return err
	}
	b.row = row
	b.shape = b.tx.shape
	return nil
}

// ForEach calls fn for each name in order, with a nil value for a bucket, until it returns an
// error, which is returned as it is. fn must not change the bucket.
func (b *Bucket) ForEach(fn func(k, v []byte) error) error {
	if b.tx.db == nil {
		return ErrTxClosed
	}
	c := b.Cursor()
	defer c.release()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

// ForEachBucket is ForEach for the buckets only.
func (b *Bucket) ForEachBucket(fn func(k []byte) error) error {
	if b.tx.db == nil {
		return ErrTxClosed
	}
	c := b.Cursor()
	defer c.release()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if c.kind == kindBucket {
			if err := fn(k); err != nil {
				return err
			}
		}
	}
	return nil
}
