package kv

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// Engine is one store directory shared by many namespaces, each a database of its own. All methods
// may be called from many goroutines.
type Engine struct {
	opts    EngineOptions
	dir     *engineDir
	fs      storeFS
	store   rowstore.Store
	pebble  *pebble.DB // what is behind the store, nil if it is another
	events  *engineEvents
	durable durable
	syncer  *syncer
	gate    gate // open while the engine is; inside: calls under way

	mu         sync.Mutex
	handles    map[uint64]*DB        // open handles
	namespaces map[uint64]*namespace // all that were ever asked for
	scratch    uint64                // number of the latest scratch directory

	blocks     blockPool // of transactions' copies
	txBytesMax int       // of one transaction's writes

	tableOptions sstable.WriterOptions // of tables to ingest
}

// namespace is what all handles on one namespace share, one after the other or not.
type namespace struct {
	id     uint64
	span   rowstore.Namespace
	meta   []byte     // key of the meta row
	root   span       // of the root bucket
	writer sync.Mutex // held by the writing transaction, a restore or a drop
	txID   uint64     // of the last commit; guarded by writer

	buckets bucketCache
	heads   heads
}

// replaced runs fn, which replaces all rows for those who begin later.
func (ns *namespace) replaced(fn func() error) error {
	return ns.heads.forget(func() error { return ns.buckets.change(fn) })
}

// firstTxID is what a reader of a namespace that was never written sees.
const firstTxID = 1

// OpenEngine opens the store in the directory dir, creating it and its parents if they are
// missing. Errors wrap ErrForeignDirectory for a directory of something else, ErrNewerFormat for
// one of a later version, ErrInUse while someone else has it open, unless both only read; the directory
// is then as it was.
func OpenEngine(dir string, opts EngineOptions) (*Engine, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	d, err := openDir(opts.FS, dir, opts.ReadOnly)
	if err != nil {
		return nil, err
	}
	events := newEngineEvents(opts.Logger)
	fs := newStoreFS(opts.FS, opts.slowDiskAfter, events)
	if opts.ReadOnly {
		fs.FS = unlockedFS{fs.FS}
	}
	if d.unlocked != nil {
		opts.Logger.Warn("store opened without a lock", zap.String("directory", dir), zap.Error(d.unlocked))
	}
	store, err := pebble.Open(d.join(dirData), pebbleOptions(opts, fs.FS, events))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kv: open %s: %w", dir, err), fs.free(), d.close())
	}
	e := newEngine(opts, d, events)
	e.fs, e.pebble = fs, store
	e.tableOptions = tableOptions(opts, store, fs.FS, events)
	e.begin(pebbleStore{e})
	return e, nil
}

// EngineOver returns an engine whose rows another store keeps than Pebble: for comparing them, and for nothing
// else. Closing it closes the store. Of options only Durability counts: whether commits are synced; the directory is
// what Path of databases tells.
func EngineOver(store rowstore.Store, dir string, opts EngineOptions) (*Engine, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	e := newEngine(opts, &engineDir{path: dir}, newEngineEvents(opts.Logger))
	e.begin(store)
	return e, nil
}

func newEngine(opts EngineOptions, dir *engineDir, events *engineEvents) *Engine {
	return &Engine{
		opts:       opts,
		dir:        dir,
		events:     events,
		handles:    map[uint64]*DB{},
		namespaces: map[uint64]*namespace{},
		txBytesMax: maxTxBytes,
	}
}

func (e *Engine) begin(store rowstore.Store) {
	e.store = store
	e.durable.sync = store.Sync
	e.syncer = newSyncer(e.durable.flush)
	e.gate.init()
}

// Unlocked says why the store's directory is not locked, nil if it is. Only a store opened read-only
// may be unlocked: its directory has no lock file and none can be made, or the file cannot be opened.
// Nothing then keeps others from writing to the store, which would make reads of it fail.
func (e *Engine) Unlocked() error { return e.dir.unlocked }

// DB returns the database of a namespace, new or not. While the handle is open, calls for the same
// namespace return the same handle. It need not be closed: Close of the engine does.
func (e *Engine) DB(namespace uint64) (*DB, error) {
	if !e.gate.enter() {
		return nil, ErrDatabaseNotOpen
	}
	defer e.gate.leave()
	ns, err := e.namespace(namespace)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if db := e.handles[namespace]; db != nil {
		return db, nil
	}
	db := newDB(e, ns, e.dir.path)
	e.handles[namespace] = db
	return db, nil
}

// namespace returns the shared state of a namespace, read from its meta row the first time.
func (e *Engine) namespace(id uint64) (*namespace, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ns := e.namespaces[id]; ns != nil {
		return ns, nil
	}
	ns := &namespace{id: id, meta: metaKey(id), root: newSpan(rootPrefix(id))}
	ns.span.ID = id
	ns.span.Lower, ns.span.Upper = namespaceSpan(id)
	view, err := e.store.View(ns.span)
	if err != nil {
		return nil, fmt.Errorf("kv: open namespace %d: %w", id, err)
	}
	meta, err := readMeta(view, ns)
	if err = errors.Join(err, view.Close()); err != nil {
		return nil, err
	}
	ns.txID = meta.txID
	e.namespaces[id] = ns
	return ns, nil
}

// readMeta reads a namespace's meta row; a missing one means nothing was ever committed.
func readMeta(view rowstore.View, ns *namespace) (metaRow, error) {
	v, held, found, err := view.Get(ns.meta)
	if err != nil {
		return metaRow{}, fmt.Errorf("kv: read meta row of namespace %d: %w", ns.id, err)
	}
	if !found {
		return metaRow{txID: firstTxID}, nil
	}
	row, err := decodeMetaRow(v)
	if held != nil {
		err = errors.Join(err, held.Close())
	}
	return row, err
}

// Namespaces lists, in ascending order, the namespaces that hold a commit.
func (e *Engine) Namespaces() ([]uint64, error) {
	if !e.gate.enter() {
		return nil, ErrDatabaseNotOpen
	}
	defer e.gate.leave()
	ids, err := e.store.Namespaces()
	if err != nil {
		return nil, fmt.Errorf("kv: list namespaces: %w", err)
	}
	return ids, nil
}

// Drop removes a namespace with all its contents, durably when it returns. It waits for the
// writing transaction; reading ones keep what they see. Handles stay open on a namespace that is
// empty and whose transaction IDs begin anew.
func (e *Engine) Drop(namespace uint64) error {
	if !e.gate.enter() {
		return ErrDatabaseNotOpen
	}
	defer e.gate.leave()
	if e.opts.ReadOnly {
		return ErrDatabaseReadOnly
	}
	ns, err := e.namespace(namespace)
	if err != nil {
		return err
	}
	ns.writer.Lock()
	defer ns.writer.Unlock()
	if err := ns.replaced(func() error { return e.store.Drop(ns.span) }); err != nil {
		return fmt.Errorf("kv: drop namespace %d: %w", namespace, err)
	}
	e.durable.written.Add(1)
	ns.txID = firstTxID
	return e.syncer.sync()
}

// Sync makes everything committed before the call durable, in all namespaces. Callers who wait at
// the same time share one flush that began after they called. After an error the state on disk is
// an older one that is still in order; the caller may try again.
func (e *Engine) Sync() error {
	if !e.gate.enter() {
		return ErrDatabaseNotOpen
	}
	defer e.gate.leave()
	if e.opts.ReadOnly {
		return nil
	}
	return e.syncer.sync()
}

// Close waits for all transactions and calls, makes everything durable and frees the directory. A
// second Close returns nil.
func (e *Engine) Close() error {
	if !e.shut() {
		return nil
	}
	var err error
	if !e.opts.ReadOnly {
		err = e.syncer.sync()
	}
	return errors.Join(err, e.release())
}

// Abandon closes without making anything durable, as far as a running process can: with NoWAL
// what was not synced is lost. It is for tests of what a crash leaves and of replay.
func (e *Engine) Abandon() error {
	if !e.shut() {
		return nil
	}
	return e.release()
}

// shut ends all handles and calls and reports whether this call was the first to do so.
func (e *Engine) shut() bool {
	first := e.gate.close()
	e.mu.Lock()
	handles := make([]*DB, 0, len(e.handles))
	for _, db := range e.handles {
		handles = append(handles, db)
	}
	e.mu.Unlock()
	for _, db := range handles {
		db.gate.close()
	}
	return first
}

func (e *Engine) release() error {
	return errors.Join(e.store.Close(), e.dir.close())
}

// forget drops a closed handle from the table of open ones.
func (e *Engine) forget(db *DB) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.handles[db.ns.id] == db {
		delete(e.handles, db.ns.id)
	}
}
