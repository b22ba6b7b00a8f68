package kv

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Limits of keys, in bytes.
const (
	// MaxKeySize is the largest length of a key or a bucket's name.
	MaxKeySize = 32768
	// MaxValueSize is the largest length of a value.
	MaxValueSize = (1 << 31) - 2
)

// What MaxBatchSize and MaxBatchDelay of a new handle are.
const (
	DefaultMaxBatchSize  = 1000
	DefaultMaxBatchDelay = 10 * time.Millisecond
)

// DB is a database: a namespace of an engine, or a directory of its own opened by Open. All methods
// may be called from many goroutines; the fields may be changed while no call runs. The zero DB is
// closed.
type DB struct {
	// NoSync lets Commit return before the transaction is on disk. It matters only where
	// commits are synced at all: databases of Open, and engines with WALSync.
	NoSync bool

	// MaxBatchSize is how many calls of Batch share a transaction at most. Zero or less: one.
	MaxBatchSize int

	// MaxBatchDelay is how long a call of Batch waits for others. Zero or less: not at all.
	MaxBatchDelay time.Duration

	// The fields below exist for programs written for bbolt. They have no effect.
	StrictMode      bool
	NoFreelistSync  bool
	FreelistType    FreelistType
	NoGrowSync      bool
	PreLoadFreelist bool
	MmapFlags       int
	AllocSize       int
	Mlock           bool

	path    string
	engine  *Engine
	ns      *namespace
	alone   bool // the engine is this handle's own and closes with it
	logger  Logger
	gate    gate // open while the handle is; inside: transactions
	batches batcher
	txCount atomic.Int64 // reading transactions begun
	txOpen  atomic.Int64 // reading transactions open
}

func newDB(e *Engine, ns *namespace, path string) *DB {
	db := &DB{
		MaxBatchSize:  DefaultMaxBatchSize,
		MaxBatchDelay: DefaultMaxBatchDelay,
		path:          path,
		engine:        e,
		ns:            ns,
	}
	db.gate.init()
	return db
}

// Path returns the directory, as it was given when it was opened.
func (db *DB) Path() string { return db.path }

// String describes the handle.
func (db *DB) String() string { return fmt.Sprintf("DB<%q>", db.path) }

// GoString describes the handle as Go source.
func (db *DB) GoString() string { return fmt.Sprintf("kv.DB{path:%q}", db.path) }

// IsReadOnly reports whether the database was opened for reading only.
func (db *DB) IsReadOnly() bool { return db.engine != nil && db.engine.opts.ReadOnly }

// Begin starts a transaction, which must be ended by Commit or Rollback. A writing one waits until
// the previous one ended; reading ones wait for nothing.
func (db *DB) Begin(writable bool) (*Tx, error) {
	if writable {
		return db.beginWrite()
	}
	return db.beginRead()
}

func (db *DB) beginRead() (*Tx, error) {
	if !db.gate.enter() {
		return nil, ErrDatabaseNotOpen
	}
	tx, err := newReadTx(db)
	if err != nil {
		db.gate.leave()
		return nil, err
	}
	db.txCount.Add(1)
	db.txOpen.Add(1)
	return tx, nil
}

func (db *DB) beginWrite() (*Tx, error) {
	if db.IsReadOnly() {
		return nil, ErrDatabaseReadOnly
	}
	if !db.gate.enter() {
		return nil, ErrDatabaseNotOpen
	}
	db.ns.writer.Lock()
	if !db.gate.isOpen() {
		// Closed while we waited: let Close go on.
		db.ns.writer.Unlock()
		db.gate.leave()
		return nil, ErrDatabaseNotOpen
	}
	tx, err := newWriteTx(db)
	if err != nil {
		db.ns.writer.Unlock()
		db.gate.leave()
	}
	return tx, err
}

// ended is called once by each transaction when it has let go of everything else.
func (db *DB) ended(tx *Tx) {
	if tx.writable {
		db.ns.writer.Unlock()
	} else {
		db.txOpen.Add(-1)
	}
	db.gate.leave()
}

// Update runs fn in a writing transaction and commits it. When fn returns an error or panics, the
// transaction is rolled back and the caller gets the same error or panic.
func (db *DB) Update(fn func(*Tx) error) error {
	tx, err := db.Begin(true)
	if err != nil {
		return err
	}
	defer tx.abandon()
	if err := tx.runManaged(fn); err != nil {
		return err
	}
	return tx.Commit()
}

// View runs fn in a reading transaction.
func (db *DB) View(fn func(*Tx) error) error {
	tx, err := db.Begin(false)
	if err != nil {
		return err
	}
	defer tx.abandon()
	return tx.runManaged(fn)
}

// Sync makes everything committed durable, also in the other namespaces of the engine.
func (db *DB) Sync() error {
	if !db.gate.enter() {
		return ErrDatabaseNotOpen
	}
	defer db.gate.leave()
	return db.engine.Sync()
}

// Close waits for open transactions and closes the handle. The engine of a namespace stays open;
// that of a database opened by Open is closed too. A second Close returns nil.
func (db *DB) Close() error {
	if !db.gate.close() || db.engine == nil {
		return nil
	}
	db.engine.forget(db)
	if db.alone {
		return db.engine.Close()
	}
	return nil
}
