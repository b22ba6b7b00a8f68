package kv

import (
	"fmt"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
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

	rows   rowstore.View   // what the transaction sees, nil once ended
	writer rowstore.Writer // the same, of a writing one

	// What of the namespace's bucketCache is true here, but for rows that were changed.
	version uint64
	// Commits that it sees at least, and what a writing one sets, for the namespace's heads.
	commits uint64
	heads   headWrites

	root    Bucket
	handles handles // of buckets given out lately
	passed  passedBucket
	writes  uint64 // rises with each write
	shape   uint64 // rises when rows of buckets change that handles may know
	changed bucketChanges
	removed uint64 // rises when one is removed: a new bucket's name may be known to a dead handle

	arena    arena
	keyBuf   []byte // the row key in use
	keyRoom  [128]byte
	rowRoom  [bucketRowLen]byte // the bucket's row being written
	iters    iterators
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

func newReadTx(db *DB) (tx *Tx, err error) {
	tx = &Tx{db: db, commits: db.ns.heads.applied.Load()}
	tx.version = db.ns.buckets.during(func() { tx.rows, err = db.engine.store.View(db.ns.span) })
	if err != nil {
		return nil, fmt.Errorf("kv: begin: %w", err)
	}
	tx.init(db.ns)
	return tx, nil
}

func newWriteTx(db *DB) (*Tx, error) {
	writer, err := db.engine.store.Begin(db.ns.span)
	if err != nil {
		return nil, fmt.Errorf("kv: begin: %w", err)
	}
	tx := &Tx{
		db:       db,
		writable: true,
		id:       db.ns.txID + 1,
		rows:     writer,
		writer:   writer,
		version:  db.ns.buckets.version.Load(),
	}
	tx.heads.begin(db.ns.heads.all())
	tx.init(db.ns)
	return tx, nil
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
	tx.arena.lend = tx.rows.Stable()
}

// ID returns the number of the transaction: for a writer one more than the last commit, for a
// reader that of the last commit it sees.
func (tx *Tx) ID() int {
	if tx.id == 0 && tx.db != nil {
		meta, err := readMeta(tx.rows, tx.db.ns)
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
	tx.rowRoom = metaRow{txID: tx.id}.encode()
	if err := tx.writer.Set(tx.db.ns.meta, tx.rowRoom[:]); err != nil {
		return err
	}
	tx.iters.close()
	sync := tx.db.engine.opts.Durability == WALSync && !tx.db.NoSync
	return tx.db.ns.heads.commit(&tx.heads, func() error {
		if tx.changed.none() {
			return tx.writer.Commit(sync)
		}
		return tx.db.ns.buckets.changeSome(&tx.changed, func() error { return tx.writer.Commit(sync) })
	})
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
	tx.iters.close()
	if err := tx.rows.Close(); err != nil {
		// Freeing memory cannot fail for a reason a caller could act on.
		tx.db.engine.events.Errorf("free transaction: %v", err)
	}
	db := tx.db
	tx.db, tx.rows, tx.writer = nil, nil, nil
	tx.handles = handles{}
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
	if tx.writer.Bytes()+len(key)+len(value)+rowOverhead > tx.db.engine.txBytesMax {
		return ErrTxTooLarge
	}
	tx.writes++
	if len(tx.heads.list) > 0 {
		tx.heads.set(key)
	}
	return tx.writer.Set(key, value)
}

// remove deletes a row, whether it exists or not.
func (tx *Tx) remove(key []byte) error {
	if tx.writer.Bytes()+len(key)+rowOverhead > tx.db.engine.txBytesMax {
		return ErrTxTooLarge
	}
	tx.writes++
	return tx.writer.Delete(key)
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
	tx.rowRoom = row.encode()
	if err := tx.set(key, tx.rowRoom[:]); err != nil {
		return err
	}
	tx.changed.row(key)
	if tx.removed > 0 {
		tx.shape++
	}
	return nil
}
