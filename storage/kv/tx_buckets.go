package kv

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
	if b := tx.buckets[string(key)]; b != nil {
		if b.exists() {
			return b
		}
		return nil
	}
	row, found := tx.getBucketRow(key)
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
	if len(tx.buckets) < maxCachedBuckets {
		if tx.buckets == nil {
			tx.buckets = map[string]*Bucket{}
		}
		tx.buckets[string(key)] = b
	}
	return b
}
