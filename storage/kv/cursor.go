package kv

import (
	"bytes"
	"fmt"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// Cursor walks a bucket in order. It keeps its place by name, so writes of any kind may happen
// between its moves: Next is always the next greater element there is, Prev the next smaller.
// It needs no closing.
type Cursor struct {
	bucket *Bucket
	place  placement
	name   []byte      // of the element the cursor is on, also when it has been deleted
	kind   elementKind // of that element when the cursor came there

	// An iterator on loan and what it sees. Without one the next move seeks.
	it    rowstore.Iterator
	slot  int    // in the transaction's list of loans
	onRow bool   // it stands on a row of the element
	seen  uint64 // the transaction's writes that it sees
	own   uint64 // the same, with this cursor's own deletions that it need not see
	dir   int    // where the cursor went since it was placed: forward, backward or 0

	lending bool
	nameBuf []byte // the name, if it is lent

	lower, upper []byte // of rows, if they are not the bucket's
	head         bool   // see HeadCursor
}

type placement byte

const (
	unplaced placement = iota
	placed
	pastEnd // by a Seek behind the last element
)

const (
	forward  = 1
	backward = -1
)

// Bucket returns the handle the cursor was made from.
func (c *Cursor) Bucket() *Bucket { return c.bucket }

// bounds returns where the cursor's rows lie.
func (c *Cursor) bounds() (lower, upper []byte) {
	if c.lower != nil {
		return c.lower, c.upper
	}
	return c.bucket.lower, c.bucket.upper
}

// Release gives back early what the cursor holds of the store. It keeps its place and may go on,
// with a seek. Who walks through many buckets in one transaction spares it new iterators.
func (c *Cursor) Release() {
	if !c.closed() {
		c.release()
	}
}

// First moves to the first element and returns it; nil, nil if the bucket is empty. The value of a
// bucket is nil. This holds for all moves.
func (c *Cursor) First() (key, value []byte) {
	if c.closed() {
		return nil, nil
	}
	c.refresh()
	if c.head {
		return c.arrive(c.headFirst(), 0, unplaced)
	}
	return c.arrive(c.it.First(), 0, unplaced)
}

// headFirst is First of the iterator, past rows that are known to be gone.
func (c *Cursor) headFirst() bool {
	tx := c.bucket.tx
	lower, upper := c.bounds()
	var valid bool
	floor := tx.db.ns.heads.floor(lower, tx.commits)
	if floor == nil {
		valid = c.it.First()
	} else {
		valid = c.it.SeekGE(floor)
	}
	row := upper
	if valid {
		row = c.it.Key()
	} else if c.it.Error() != nil {
		return false
	}
	if !bytes.Equal(row, floor) {
		tx.db.ns.heads.found(lower, upper, row, tx.commits)
	}
	return valid
}

// Last moves to the last element.
func (c *Cursor) Last() (key, value []byte) {
	if c.closed() {
		return nil, nil
	}
	c.refresh()
	return c.arrive(c.it.Last(), 0, unplaced)
}

// Seek moves to the key, or to the next greater one if it does not exist. Behind the last element
// it returns nil, nil and the cursor stands past the end.
func (c *Cursor) Seek(seek []byte) (key, value []byte) {
	if len(seek) == 0 {
		return c.First()
	}
	if c.closed() {
		return nil, nil
	}
	c.refresh()
	return c.arrive(c.it.SeekGE(c.bucket.child(seek, endKey)), 0, pastEnd)
}

// Next moves to the next element. At the end it returns nil, nil and the cursor stays on the last
// element.
func (c *Cursor) Next() (key, value []byte) {
	if c.closed() || c.place != placed {
		return nil, nil
	}
	if c.canStep(forward) {
		return c.arrive(c.it.Next(), forward, placed)
	}
	c.refreshFor(forward)
	// Behind a key's row and behind everything inside a bucket.
	return c.arrive(c.it.SeekGE(c.bucket.child(c.name, endBoth)), forward, placed)
}

// Prev moves to the element before. At the start it returns nil, nil and the cursor stays on the
// first element.
func (c *Cursor) Prev() (key, value []byte) {
	if c.closed() || c.place == unplaced {
		return nil, nil
	}
	if c.place == pastEnd {
		return c.Last()
	}
	if c.canStep(backward) {
		return c.arrive(c.it.Prev(), backward, placed)
	}
	c.refreshFor(backward)
	return c.arrive(c.it.SeekLT(c.bucket.child(c.name, endKey)), backward, placed)
}

// Delete removes the element the cursor is on. The cursor stays in its place: Next and Prev then
// give the neighbours. If there is no element, because the cursor was never placed or the element
// is gone already, it does nothing.
func (c *Cursor) Delete() error {
	if err := c.bucket.tx.checkWritable(); err != nil {
		return err
	}
	if c.place != placed {
		return nil
	}
	sees := c.sees()
	if err := c.bucket.Delete(c.name); err != nil {
		return err
	}
	if sees {
		c.own = c.bucket.tx.writes
	}
	return nil
}

func (c *Cursor) closed() bool { return c.bucket.tx.db == nil }

// sees reports whether the iterator's view lacks no write but deletions by this cursor.
func (c *Cursor) sees() bool {
	writes := c.bucket.tx.writes
	return c.it != nil && (c.seen == writes || c.own == writes)
}

// trusts reports whether the iterator's view is good for going in a direction: going on the same
// way, the elements this cursor deleted are behind it.
func (c *Cursor) trusts(dir int) bool {
	if c.it != nil && c.seen == c.bucket.tx.writes {
		return true
	}
	return c.sees() && c.dir != -dir
}

// canStep reports whether the neighbour row is the neighbour element.
func (c *Cursor) canStep(dir int) bool {
	return c.onRow && c.kind == kindKey && c.trusts(dir)
}

// refresh makes the iterator see all writes.
func (c *Cursor) refresh() {
	tx := c.bucket.tx
	if c.it != nil && c.seen != tx.writes {
		tx.order() // which may take the iterator away, if it can never see the writes
	}
	switch {
	case c.it == nil:
		tx.lend(c)
	case c.seen != tx.writes:
		c.it.Reset(c.bounds())
	default:
		return
	}
	c.seen, c.own = tx.writes, tx.writes
}

func (c *Cursor) refreshFor(dir int) {
	if !c.trusts(dir) {
		c.refresh()
	}
}

// arrive takes the iterator's new position. If it has none, the cursor is left where otherwise
// says: it keeps its element if that is placed.
func (c *Cursor) arrive(valid bool, dir int, otherwise placement) (key, value []byte) {
	if !valid {
		if err := c.it.Error(); err != nil {
			panic(fmt.Errorf("%w: %w", ErrRead, err))
		}
		c.place = otherwise
		c.release()
		return nil, nil
	}
	value, err := c.readElement()
	if err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	c.place, c.onRow, c.dir = placed, true, dir
	if c.kind == kindBucket {
		c.passBucket()
	}
	return c.name, value
}

// readElement takes the name and kind of the element whose row, or a row inside, is current, and
// returns a key's value.
func (c *Cursor) readElement() (value []byte, err error) {
	tx := c.bucket.tx
	rest := c.it.Key()[len(c.bucket.prefix):]
	var name []byte
	if i := bytes.IndexByte(rest, byteEscape); i > 0 && i+1 < len(rest) && rest[i+1] != escapedZero {
		// No zero byte in the name: it stands there as it is.
		name, c.kind = rest[:i], elementKind(rest[i+1])
	} else {
		name, c.kind, _, err = cutElement(tx.keyBuf[:0], rest)
		if err != nil {
			return nil, err
		}
		tx.keyBuf = name
		if tx.arena.lend && !c.lending {
			name = bytes.Clone(name)
		}
	}
	if c.lending {
		c.nameBuf = append(c.nameBuf[:0], name...)
		c.name = c.nameBuf
	}
	if c.kind == kindBucket {
		if !c.lending {
			c.name = tx.arena.copy(name)
		}
		return nil, nil
	}
	v, err := c.it.ValueAndErr()
	if err != nil {
		return nil, err
	}
	if c.lending {
		return v[:len(v):len(v)], nil
	}
	c.name, value = tx.arena.copyPair(name, v)
	return value, nil
}

// passBucket notes the row of the bucket the cursor is on, if that is the row it stands on: the
// caller will likely open the bucket.
func (c *Cursor) passBucket() {
	tx := c.bucket.tx
	if c.seen != tx.writes {
		return
	}
	key := c.it.Key()
	if !bytes.Equal(key, c.bucket.child(c.name, endBucket)) {
		return
	}
	v, err := c.it.ValueAndErr()
	var row bucketRow
	if err == nil {
		row, err = decodeBucketRow(v)
	}
	if err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	tx.passed.set(key, row, tx.shape)
}

// release gives the iterator back. The cursor keeps its place.
func (c *Cursor) release() {
	if c.it != nil {
		c.bucket.tx.takeBack(c)
	}
}
