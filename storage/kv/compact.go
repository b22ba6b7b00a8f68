package kv

// Compact copies all of src into dst, in transactions of about txMaxSize bytes; 0 means one. The
// buckets of src must not exist in dst.
func Compact(dst, src *DB, txMaxSize int64) error {
	return src.View(func(from *Tx) error {
		c := &compaction{dst: dst, max: txMaxSize}
		defer c.abandon()
		if err := c.begin(); err != nil {
			return err
		}
		err := from.ForEach(func(name []byte, b *Bucket) error { return c.bucket([][]byte{name}, b) })
		if err != nil {
			return err
		}
		return c.tx.Commit()
	})
}

// compaction is the writing side of Compact.
type compaction struct {
	dst  *DB
	tx   *Tx
	max  int64
	size int64 // bytes put into tx
}

func (c *compaction) begin() (err error) {
	c.tx, err = c.dst.Begin(true)
	c.size = 0
	return err
}

// abandon rolls back what an error left open.
func (c *compaction) abandon() {
	if c.tx != nil {
		c.tx.abandon()
	}
}

// bucket copies a bucket, at path in both databases. What path has room for behind its end belongs to
// the buckets inside.
func (c *compaction) bucket(path [][]byte, b *Bucket) error {
	into, err := c.create(path)
	if err != nil {
		return err
	}
	if err := into.SetSequence(b.Sequence()); err != nil {
		return err
	}
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return c.bucket(append(path, k), b.Bucket(k))
		}
		begun, err := c.room(len(k) + len(v))
		if err != nil {
			return err
		}
		if begun || into.tx != c.tx {
			into = c.tx.BucketAt(path...)
		}
		return into.Put(k, v)
	})
}

func (c *compaction) create(path [][]byte) (*Bucket, error) {
	name := path[len(path)-1]
	if _, err := c.room(len(name)); err != nil {
		return nil, err
	}
	if len(path) == 1 {
		return c.tx.CreateBucket(name)
	}
	return c.tx.BucketAt(path[:len(path)-1]...).CreateBucket(name)
}

// room begins another transaction if this one is full, and counts n bytes to come.
func (c *compaction) room(n int) (begun bool, err error) {
	if c.max > 0 && c.size > 0 && c.size+int64(n) > c.max {
		if err := c.tx.Commit(); err != nil {
			return false, err
		}
		if err := c.begin(); err != nil {
			return false, err
		}
		begun = true
	}
	c.size += int64(n)
	return begun, nil
}
