package kv

import "bytes"

// Cursor returns a cursor over the buckets of the root. All values are nil.
func (tx *Tx) Cursor() *Cursor { return tx.root.Cursor() }

// Bucket returns the bucket of that name in the root, nil if there is none.
func (tx *Tx) Bucket(name []byte) *Bucket { return tx.root.Bucket(name) }

// BucketAt returns the bucket at a path of names from the root, nil if there is none. It looks
// once, however long the path.
func (tx *Tx) BucketAt(path ...[]byte) *Bucket {
	if tx.db == nil || len(path) == 0 {
		return nil
	}
	key := append(tx.keyBuf[:0], tx.root.prefix...)
	for _, name := range path {
		if len(name) == 0 {
			return nil
		}
		key = appendElement(key, name, endBucket)
	}
	tx.keyBuf = key
	return tx.openBucket(key)
}

// CreateBucket creates a bucket in the root. See Bucket.CreateBucket.
func (tx *Tx) CreateBucket(name []byte) (*Bucket, error) { return tx.root.CreateBucket(name) }

// CreateBucketIfNotExists returns a bucket of the root, which it creates if it is missing.
func (tx *Tx) CreateBucketIfNotExists(name []byte) (*Bucket, error) {
	return tx.root.CreateBucketIfNotExists(name)
}

// DeleteBucket removes a bucket of the root with everything in it.
func (tx *Tx) DeleteBucket(name []byte) error { return tx.root.DeleteBucket(name) }

// ForEach calls fn for each bucket of the root in order, until it returns an error, which is
// returned as it is.
func (tx *Tx) ForEach(fn func(name []byte, b *Bucket) error) error {
	return tx.root.ForEach(func(name, _ []byte) error {
		return fn(name, tx.root.Bucket(name))
	})
}

// openBucket returns the handle of the bucket whose row is key, nil if there is none.
func (tx *Tx) openBucket(key []byte) *Bucket {
	if b := tx.handles.find(key); b != nil {
		if b.exists() {
			return b
		}
		return nil
	}
	row, found := tx.passed.get(key, tx.shape)
	if !found {
		row, found = tx.getBucketRow(key)
	}
	if !found {
		return nil
	}
	return tx.newBucket(key, row)
}

// newBucket makes the handle of a bucket known to exist and remembers it.
func (tx *Tx) newBucket(key []byte, row bucketRow) *Bucket {
	b := &Bucket{
		FillPercent: DefaultFillPercent,
		tx:          tx,
		span:        newSpan(key),
		row:         row,
		alive:       true,
		shape:       tx.shape,
	}
	tx.handles.add(b)
	return b
}

// handles remembers buckets a transaction opened, so that opening one again costs no read. There are
// few: going through them is cheaper than keeping a map. Those used again stay longest.
type handles struct {
	known []*Bucket
	next  int // the one to forget, once the list is full
}

const maxHandles = 64

// find returns the handle of the bucket whose row is key, nil if it is not known.
func (h *handles) find(key []byte) *Bucket {
	for _, b := range h.known {
		if bytes.Equal(b.prefix, key) {
			b.used = true
			return b
		}
	}
	return nil
}

func (h *handles) add(b *Bucket) {
	if len(h.known) < maxHandles {
		h.known = append(h.known, b)
		return
	}
	for h.known[h.next].used {
		h.known[h.next].used = false
		h.next = (h.next + 1) % maxHandles
	}
	h.known[h.next].fresh = false // there may be another handle from now on
	h.known[h.next] = b
	h.next = (h.next + 1) % maxHandles
}

// passedBucket is the row of a bucket that a cursor came by: walking a tree, the next bucket to be
// opened is that one, and its row need not be read again.
type passedBucket struct {
	key   []byte
	row   bucketRow
	shape uint64 // the transaction's when the row was read
}

func (p *passedBucket) set(key []byte, row bucketRow, shape uint64) {
	p.key, p.row, p.shape = append(p.key[:0], key...), row, shape
}

func (p *passedBucket) get(key []byte, shape uint64) (row bucketRow, found bool) {
	return p.row, p.shape == shape && bytes.Equal(p.key, key)
}
