package statemachine

import (
	"errors"
	"fmt"
	"io"
	"sync"

	sm "github.com/lni/dragonboat/v4/statemachine"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
)

// Machine is a group's replica: dragonboat's on-disk state machine over one
// namespace of the node's store. Dragonboat calls Update from one goroutine at
// a time; Lookup, PrepareSnapshot and SaveSnapshot may run beside it.
type Machine struct {
	db       *kv.DB
	handlers map[raftlogv1.Kind]since
	cache    *index.GroupCache
	// What the last Update left; nil if it is to be read from the store. Of Update.
	known *standing
	// Of Update.
	blocks metastorev1.BlockDecoder

	mu sync.Mutex
	// Read transactions that PrepareSnapshot opened and SaveSnapshot has not
	// closed yet.
	prepared map[*kv.Tx]struct{}
}

var _ sm.IOnDiskStateMachine = (*Machine)(nil)

// NewData returns the machine of a data group. The store must hold nothing but
// the group's state; Close leaves it open.
//
// The cache is shared by the groups of a node.
func NewData(db *kv.DB, cache *Cache) *Machine { return newMachine(db, cache, dataHandlers) }

// NewDirectory returns the machine of the directory group.
func NewDirectory(db *kv.DB, cache *Cache) *Machine {
	return newMachine(db, cache, directoryHandlers)
}

func newMachine(db *kv.DB, cache *Cache, handlers map[raftlogv1.Kind]since) *Machine {
	return &Machine{db: db, handlers: handlers, cache: cache.Group(), prepared: map[*kv.Tx]struct{}{}}
}

// Cache keeps what the machines of a node read again and again: the strings and
// label sets of index shards. It is bounded in bytes; safe for concurrent use.
type Cache = index.Cache

// NewCache returns a cache of about so many bytes.
func NewCache(bytes int) *Cache { return index.NewCache(bytes) }

// Open returns the index of the last entry whose changes the store holds.
func (m *Machine) Open(<-chan struct{}) (uint64, error) {
	var applied uint64
	err := m.db.View(func(tx *kv.Tx) error {
		h, err := loadHeader(tx)
		applied = h.applied
		return err
	})
	return applied, err
}

// Update applies entries in one transaction. Each entry's result holds encoded
// raftlog.v1.Results.
func (m *Machine) Update(entries []sm.Entry) ([]sm.Entry, error) {
	known := m.known
	m.known = nil
	err := m.db.Update(func(tx *kv.Tx) error {
		u, err := m.newUpdate(tx, known)
		if err != nil {
			return err
		}
		for i := range entries {
			data, err := u.entry(entries[i])
			if err != nil {
				return fmt.Errorf("entry %d: %w", entries[i].Index, err)
			}
			entries[i].Result = sm.Result{Value: uint64(len(data)), Data: data}
		}
		if err := u.finish(); err != nil {
			return err
		}
		left := u.standing // nothing else of the update is kept in memory
		known = &left
		return nil
	})
	if err != nil {
		m.cache.Clear()
		return entries, err
	}
	m.known = known
	return entries, nil
}

// Lookup answers a Query of this package.
func (m *Machine) Lookup(query any) (any, error) {
	q, ok := query.(Query)
	if !ok {
		return nil, fmt.Errorf("statemachine: %T is not a query", query)
	}
	var answer any
	err := m.db.View(func(tx *kv.Tx) error {
		v, err := newView(tx, m.cache)
		if err != nil {
			return err
		}
		answer, err = q.read(v)
		return err
	})
	return answer, err
}

// Sync makes everything applied durable.
func (m *Machine) Sync() error { return m.db.Sync() }

// PrepareSnapshot pins the current state.
func (m *Machine) PrepareSnapshot() (any, error) {
	tx, err := m.db.Begin(false)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.prepared[tx] = struct{}{}
	m.mu.Unlock()
	return tx, nil
}

// SaveSnapshot writes the state that PrepareSnapshot pinned.
func (m *Machine) SaveSnapshot(prepared any, w io.Writer, stop <-chan struct{}) error {
	tx, ok := prepared.(*kv.Tx)
	if !ok || !m.release(tx) {
		return fmt.Errorf("statemachine: %T is not a prepared snapshot", prepared)
	}
	_, err := tx.WriteTo(stoppableWriter{w, stop})
	return errors.Join(err, tx.Rollback())
}

// RecoverFromSnapshot replaces the state by a saved one: completely, or not at
// all.
func (m *Machine) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) error {
	// Readers run beside it: what they leave is of the state before.
	defer m.cache.Clear()
	m.known = nil
	return m.db.Restore(stoppableReader{r, stop})
}

// Close gives up snapshots that were prepared and never saved.
func (m *Machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for tx := range m.prepared {
		errs = append(errs, tx.Rollback())
	}
	clear(m.prepared)
	return errors.Join(errs...)
}

func (m *Machine) release(tx *kv.Tx) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.prepared[tx]
	delete(m.prepared, tx)
	return ok
}

type stoppableWriter struct {
	w    io.Writer
	stop <-chan struct{}
}

func (s stoppableWriter) Write(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, sm.ErrSnapshotStopped
	default:
		return s.w.Write(p)
	}
}

type stoppableReader struct {
	r    io.Reader
	stop <-chan struct{}
}

func (s stoppableReader) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, sm.ErrSnapshotStopped
	default:
		return s.r.Read(p)
	}
}
