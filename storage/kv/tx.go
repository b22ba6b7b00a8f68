package kv

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Tx is a transaction: a view of the database that does not change under others' hands, plus, if
// it is writable, its own writes. It is for one goroutine; only Check may run beside it. Reading
// from a store whose files fail panics, since a missing row and an unreadable one must not be
// taken for each other.
type Tx struct {
	// WriteFlag exists for programs written for bbolt. It has no effect.
	WriteFlag int

	db       *DB // nil once ended
	writable bool
	managed  bool // inside Update, View or Batch
	id       uint64

	snap    *pebble.Snapshot // reading transactions
	batch   *pebble.Batch    // writing ones: the writes so far
	indexed bool             // the batch can be read in order, over the committed state
	written writeIndex       // of the batch, for reads of single rows

	// What of the namespace's bucketCache is true here, as long as no bucket's row was changed.
	version uint64

	root    Bucket
	handles handles // of buckets given out lately
	passed  passedBucket
	writes  uint64 // rises with each write
	shape   uint64 // rises when rows of buckets change that handles may know
	changed bool   // a row of a bucket was written or removed
	removed uint64 // rises when one is removed: a new bucket's name may be known to a dead handle

	arena    arena
	keyBuf   []byte // the row key in use
	keyRoom  [128]byte
	iters    iterators
	gets     getter
	onCommit []func()
}

const (
	// maxTxBytes keeps a transaction inside the four gigabytes a batch can address.
	maxTxBytes = 4<<30 - 64<<20
	// retainedBatchBytes is how large a batch may be whose memory is kept for the next transaction: a
	// thousand rows of a few KB.
	retainedBatchBytes = 4 << 20
	// rowOverhead is more than a row takes in a batch beside its key and value.
	rowOverhead = 16
)

func newReadTx(db *DB) *Tx {
	tx := &Tx{db: db}
	tx.version = db.ns.buckets.during(func() { tx.snap = db.engine.pebble.NewSnapshot() })
	tx.init(db.ns)
	return tx
}

func newWriteTx(db *DB) *Tx {
	tx := &Tx{
		db:       db,
		writable: true,
		id:       db.ns.txID + 1,
		batch:    db.engine.pebble.NewBatch(pebble.WithMaxRetainedSizeBytes(retainedBatchBytes)),
		version:  db.ns.buckets.version.Load(),
	}
	tx.init(db.ns)
	return tx
}

func (tx *Tx) init(ns *namespace) {
	tx.root = Bucket{
		FillPercent: DefaultFillPercent,
		tx:          tx,
		span:        ns.root,
		row:         bucketRow{nests: true},
		alive:       true,
	}
	tx.keyBuf = tx.keyRoom[:0]
	tx.arena.pool = &tx.db.engine.blocks
}

// ID returns the number of the transaction: for a writer one more than the last commit, for a
// reader that of the last commit it sees.
func (tx *Tx) ID() int {
	if tx.id == 0 && tx.db != nil {
		meta, err := readMeta(tx.reader(), tx.db.ns.id)
		if err != nil {
			panic(err)
		}
		tx.id = meta.txID
	}
	return int(tx.id)
}

// DB returns the handle the transaction was begun on, nil once it has ended.
func (tx *Tx) DB() *DB { return tx.db }

// Writable reports whether the transaction may write.
func (tx *Tx) Writable() bool { return tx.writable }

// OnCommit has fn run after a successful commit, when the transaction is closed and the next
// writer may begin. Functions run in the order they were given.
func (tx *Tx) OnCommit(fn func()) { tx.onCommit = append(tx.onCommit, fn) }

// Commit makes the writes visible to transactions that begin later, and durable as the database's
// settings say. After an error nothing was written.
func (tx *Tx) Commit() error {
	tx.refuseManaged("commit")
	if tx.db == nil {
		return ErrTxClosed
	}
	if !tx.writable {
		return ErrTxNotWritable
	}
	if err := tx.apply(); err != nil {
		tx.end()
		return fmt.Errorf("kv: commit: %w", err)
	}
	tx.db.ns.txID = tx.id
	tx.db.engine.durable.written.Add(1)
	tx.end()
	for _, fn := range tx.onCommit {
		fn()
	}
	return nil
}

// apply hands the batch, with the meta row that numbers it, to the storage engine.
func (tx *Tx) apply() error {
	meta := metaRow{txID: tx.id}.encode()
	if err := tx.batch.Set(tx.db.ns.meta, meta[:], nil); err != nil {
		return err
	}
	tx.closeIterators()
	sync := pebble.NoSync
	if tx.db.engine.opts.Durability == WALSync && !tx.db.NoSync {
		sync = pebble.Sync
	}
	if !tx.changed {
		return tx.batch.Commit(sync)
	}
	return tx.db.ns.buckets.change(func() error { return tx.batch.Commit(sync) })
}

// Rollback ends the transaction and forgets its writes.
func (tx *Tx) Rollback() error {
	tx.refuseManaged("rollback")
	if tx.db == nil {
		return ErrTxClosed
	}
	tx.end()
	return nil
}

func (tx *Tx) refuseManaged(what string) {
	if tx.managed {
		panic("kv: " + what + " of a transaction that Update, View or Batch will end")
	}
}

// runManaged runs fn while Commit and Rollback are refused.
func (tx *Tx) runManaged(fn func(*Tx) error) error {
	tx.managed = true
	err := fn(tx)
	tx.managed = false
	return err
}

// abandon ends the transaction if nobody did.
func (tx *Tx) abandon() {
	if tx.db != nil {
		tx.managed = false
		tx.end()
	}
}

// end frees what the transaction holds and lets the next one begin.
func (tx *Tx) end() {
	tx.closeIterators()
	var err error
	if tx.snap != nil {
		err = tx.snap.Close()
	} else {
		err = tx.batch.Close()
	}
	if err != nil {
		// Freeing memory cannot fail for a reason a caller could act on.
		tx.db.engine.events.Errorf("free transaction: %v", err)
	}
	db := tx.db
	tx.db, tx.snap, tx.batch = nil, nil, nil
	tx.handles, tx.written = handles{}, writeIndex{}
	tx.arena.release()
	db.ended(tx)
}

// checkWritable returns the error that comes before all others of a writing call.
func (tx *Tx) checkWritable() error {
	if tx.db == nil {
		return ErrTxClosed
	}
	if !tx.writable {
		return ErrTxNotWritable
	}
	return nil
}

// set writes a row.
func (tx *Tx) set(key, value []byte) error {
	if tx.batch.Len()+len(key)+len(value)+rowOverhead > tx.db.engine.txBytesMax {
		return ErrTxTooLarge
	}
	tx.writes++
	return tx.batch.Set(key, value, nil)
}

// remove deletes a row, whether it exists or not.
func (tx *Tx) remove(key []byte) error {
	if tx.batch.Len()+len(key)+rowOverhead > tx.db.engine.txBytesMax {
		return ErrTxTooLarge
	}
	tx.writes++
	return tx.batch.Delete(key, nil)
}

// setBucketRow writes the row of a bucket that handles may know.
func (tx *Tx) setBucketRow(key []byte, row bucketRow) error {
	if err := tx.addBucketRow(key, row); err != nil {
		return err
	}
	tx.shape++
	return nil
}

// addBucketRow writes the row of a bucket that is new. Other handles need not take notice, unless
// they stood for a bucket of that name before it was removed.
func (tx *Tx) addBucketRow(key []byte, row bucketRow) error {
	buf := row.encode()
	if err := tx.set(key, buf[:]); err != nil {
		return err
	}
	tx.changed = true
	if tx.removed > 0 {
		tx.shape++
	}
	return nil
}
