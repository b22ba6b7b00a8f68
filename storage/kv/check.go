package kv

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// Fault is something wrong with one row of a namespace.
type Fault struct {
	Row []byte // key of the row in the store, nil if a row is missing
	Err error  // what is wrong
}

// Error names the row by its path of buckets as far as that can be read.
func (f Fault) Error() string {
	return fmt.Sprintf("kv: check: row %s: %v", describeRow(f.Row), f.Err)
}

// Unwrap returns what is wrong.
func (f Fault) Unwrap() error { return f.Err }

// describeRow writes a row key as a path, its unreadable rest as it is.
func describeRow(row []byte) string {
	if len(row) <= namespaceLen || row[namespaceLen] != areaRoot {
		return fmt.Sprintf("%q", row)
	}
	var text strings.Builder
	rest := row[namespaceLen+1:]
	for len(rest) > 0 {
		name, kind, tail, err := cutElement(nil, rest)
		if err != nil {
			fmt.Fprintf(&text, "/?%q", rest)
			break
		}
		fmt.Fprintf(&text, "/%q", name)
		if kind == kindKey {
			text.WriteString(" (key)")
		}
		rest = tail
	}
	if text.Len() == 0 {
		return "/"
	}
	return text.String()
}

// maxFaults bounds what one Check reports.
const maxFaults = 100

// Check reads every row of the namespace that the transaction sees and returns what is wrong with
// them, at most a hundred faults: a malformed, missing or misplaced row that counts commits, rows
// outside of every bucket, names badly encoded or too long, a name that is both key and bucket, a
// key in the root, malformed rows of buckets, buckets in a bucket that is not marked to hold any.
// It changes nothing, so it serves on a store opened read-only. The error says why Check could not
// go to the end: the context ended, the transaction is closed or a file cannot be read.
func Check(ctx context.Context, tx *Tx) ([]Fault, error) {
	if tx.db == nil {
		return nil, ErrTxClosed
	}
	c := newChecker(tx.db.ns)
	tx.order()
	it, err := tx.rows.Iterate(tx.db.ns.span.Lower, tx.db.ns.span.Upper)
	if err != nil {
		return nil, fmt.Errorf("kv: check: %w", err)
	}
	for ok := it.First(); ok && err == nil && len(c.faults) < maxFaults; ok = it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			c.row(it.Key(), value)
			err = ctx.Err()
		}
	}
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return c.faults, fmt.Errorf("kv: check: %w", err)
	}
	return c.faults, nil
}

// checker takes the rows of a namespace in order.
type checker struct {
	ns     *namespace
	meta   bool // its row was seen
	rows   bool // any other was
	walk   *walker
	marks  []bool // for each bucket the walk is in: marked to hold buckets
	faults []Fault
}

func newChecker(ns *namespace) *checker {
	return &checker{ns: ns, walk: newWalker(ns.root.prefix), marks: []bool{true}}
}

func (c *checker) fault(row []byte, format string, args ...any) {
	if len(c.faults) < maxFaults {
		c.faults = append(c.faults, Fault{Row: bytes.Clone(row), Err: fmt.Errorf(format, args...)})
	}
}

func (c *checker) row(key, value []byte) {
	if bytes.Equal(key, c.ns.meta) {
		c.meta = true
		if meta, err := decodeMetaRow(value); err != nil {
			c.fault(key, "%w", err)
		} else if meta.txID <= firstTxID {
			c.fault(key, "commit number %d was never given", meta.txID)
		}
		return
	}
	if !c.rows && !c.meta {
		c.fault(c.ns.meta, "the row that counts commits is missing")
	}
	c.rows = true
	switch {
	case bytes.Equal(key, c.ns.root.prefix):
		if _, err := decodeBucketRow(value); err != nil {
			c.fault(key, "%w", err)
		}
	case bytes.HasPrefix(key, c.ns.root.prefix):
		c.element(key, value)
	default:
		c.fault(key, "%w: outside of all buckets", errBadKey)
	}
}

func (c *checker) element(key, value []byte) {
	ended, err := c.walk.step(key)
	c.marks = c.marks[:len(c.marks)-ended]
	if err != nil {
		c.fault(key, "%w", err)
		if c.walk.open() == len(c.marks) {
			c.marks = append(c.marks, true)
		}
		return
	}
	if len(c.walk.name) > MaxKeySize {
		c.fault(key, "a name of %d bytes", len(c.walk.name))
	}
	if c.walk.kind == kindKey {
		return
	}
	if holder := len(c.marks) - 1; !c.marks[holder] {
		c.fault(c.walk.parent(), "holds buckets and is not marked so")
		c.marks[holder] = true // said once
	}
	if holder := c.walk.parent(); len(holder) > maxHolderBytes {
		c.fault(holder, "holds buckets below a path of %d bytes", len(holder))
	}
	row, err := decodeBucketRow(value)
	if err != nil {
		c.fault(key, "%w", err)
		row.nests = true // what it was is not known
	}
	c.marks = append(c.marks, row.nests)
}

// CheckOption exists for programs written for bbolt.
type CheckOption func()

// Check is the function Check in bbolt's shape: the faults come in a closed channel. It may be
// called from several goroutines at once on a reading transaction.
func (tx *Tx) Check(...CheckOption) <-chan error {
	found, err := Check(context.Background(), tx)
	faults := make(chan error, len(found)+1)
	defer close(faults)
	for _, f := range found {
		faults <- f
	}
	if err != nil {
		faults <- err
	}
	return faults
}
