// Package rowstore is what package kv needs of the store that holds its rows: sorted keys with values, one
// writer per namespace, views that stand still. In production that store is Pebble; the seam is there so that
// the same buckets can be measured over another one.
package rowstore

import "io"

// Namespace is a database: all its rows lie in [Lower, Upper). The slices never change.
type Namespace struct {
	ID           uint64
	Lower, Upper []byte
}

// Store holds the rows of many namespaces. Its methods may be called from many goroutines, but those that
// change a namespace only one at a time.
type Store interface {
	// View pins a namespace as its last commit left it.
	View(Namespace) (View, error)
	// Begin begins the only writer of a namespace.
	Begin(Namespace) (Writer, error)
	// Namespaces lists those that hold rows, in ascending order.
	Namespaces() ([]uint64, error)
	// Drop removes all rows of a namespace, atomically. Sync makes it durable.
	Drop(Namespace) error
	// Replace puts other rows in the place of all that a namespace has: those that fill adds in order. If
	// fill fails nothing changes. Once all is ready it calls swap with what makes the change visible,
	// which swap calls in turn. It is durable when Replace returns.
	Replace(n Namespace, fill func(add func(key, value []byte) error) error, swap func(apply func() error) error) error
	// Sync makes all commits before it durable. It is not called twice at the same time.
	Sync() error
	// Size estimates the bytes that a namespace takes on disk.
	Size(Namespace) (uint64, error)
	// Close frees everything. Whether what was not synced is kept is the store's choice.
	Close() error
}

// View reads one state of a namespace. It is for one goroutine, but Iterate of a view that is no writer may be
// called from many.
type View interface {
	// Get returns the value of a row, valid until the next read unless the view is Stable. If held is not nil
	// it must be closed.
	Get(key []byte) (value []byte, held io.Closer, found bool, err error)
	// Iterate returns an iterator over the rows in [lower, upper), nowhere yet.
	Iterate(lower, upper []byte) (Iterator, error)
	// Stable tells whether keys and values stay as they are until the view is closed.
	Stable() bool
	// Close ends the view. Its iterators must be closed.
	Close() error
}

// Writer is a view that writes, and sees what it wrote.
type Writer interface {
	View
	Set(key, value []byte) error
	Delete(key []byte) error
	// DeleteRange deletes all rows in [lower, upper).
	DeleteRange(lower, upper []byte) error
	// Bytes is about the length of all writes so far.
	Bytes() int
	// Order makes all writes so far readable by Iterate and Reset. After true, iterators that were made before
	// never see them and must be closed.
	Order() (renewed bool, err error)
	// Commit makes all writes visible at once, and durable if sync is set. Close must follow. After an error
	// nothing was written.
	Commit(sync bool) error
}

// Iterator walks rows. It may or may not see writes that were made after it was made or last reset. Methods
// that move tell whether they found a row.
type Iterator interface {
	First() bool
	Last() bool
	// Next and Prev are for iterators that stand on a row.
	Next() bool
	Prev() bool
	// SeekGE goes to the first row that is not before a key, SeekLT to the last one before it.
	SeekGE(key []byte) bool
	SeekLT(key []byte) bool
	// Key is that of the current row, valid until the next move unless the view is Stable. So is the value.
	Key() []byte
	ValueAndErr() ([]byte, error)
	// Error is what made a move fail.
	Error() error
	// Reset begins anew with other bounds, and sees all writes that Order made readable.
	Reset(lower, upper []byte)
	Close() error
}
