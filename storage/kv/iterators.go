package kv

import (
	"fmt"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// iterators keeps a transaction's iterators of the storage engine. A cursor borrows one while it
// moves and can go on without it: it knows its place by name. So cursors need no closing, and
// however many there are, few iterators exist.
type iterators struct {
	idle   []rowstore.Iterator
	lent   []*Cursor // who holds one
	victim int       // next in lent to lose its iterator
}

const (
	maxIdleIterators = 8
	maxLentIterators = 64
)

// newIterator returns an iterator over [lower, upper) that sees all writes so far.
func (tx *Tx) newIterator(lower, upper []byte) rowstore.Iterator {
	tx.order() // first: it may close the idle ones
	if n := len(tx.iters.idle); n > 0 {
		it := tx.iters.idle[n-1]
		tx.iters.idle = tx.iters.idle[:n-1]
		it.Reset(lower, upper)
		return it
	}
	it, err := tx.rows.Iterate(lower, upper)
	if err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	return it
}

// freeIterator takes back an iterator.
func (tx *Tx) freeIterator(it rowstore.Iterator) {
	if len(tx.iters.idle) < maxIdleIterators {
		tx.iters.idle = append(tx.iters.idle, it)
		return
	}
	if err := it.Close(); err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
}

// lend gives a cursor an iterator of its own.
func (tx *Tx) lend(c *Cursor) {
	its := &tx.iters
	if len(its.lent) >= maxLentIterators {
		tx.takeOne()
	}
	c.it = tx.newIterator(c.bounds())
	c.slot = len(its.lent)
	its.lent = append(its.lent, c)
}

// takeOne ends a loan, but none of a cursor that lends on: there may then be more than there should.
func (tx *Tx) takeOne() {
	its := &tx.iters
	for range its.lent {
		its.victim = (its.victim + 1) % len(its.lent)
		if c := its.lent[its.victim]; !c.lending {
			tx.takeBack(c)
			return
		}
	}
}

// takeBack ends a loan.
func (tx *Tx) takeBack(c *Cursor) {
	its := &tx.iters
	last := len(its.lent) - 1
	its.lent[c.slot] = its.lent[last]
	its.lent[c.slot].slot = c.slot
	its.lent[last] = nil
	its.lent = its.lent[:last]
	it := c.it
	c.it, c.onRow = nil, false
	tx.freeIterator(it)
}

// close closes all iterators: cursors will seek with new ones. Errors were reported when they arose.
func (its *iterators) close() {
	for _, c := range its.lent {
		_ = c.it.Close()
		c.it, c.onRow = nil, false
	}
	for _, it := range its.idle {
		_ = it.Close()
	}
	*its = iterators{}
}
