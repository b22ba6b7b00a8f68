package raftlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/storage/paced"
)

// name and binaryFormat are recorded in the node host's directory: another log
// store, or another format of this one, is refused.
const (
	name         = "skerry-raftlog"
	binaryFormat = 1
)

// Factory opens the log of a node host.
type Factory struct {
	compactAfter time.Duration
	log          *zap.Logger
	registerer   prometheus.Registerer
}

var _ config.LogDBFactory = Factory{}

// NewFactory returns a factory. A log registers its metrics when it is opened and
// gives them back when it is closed. It compacts nothing until it was open for the
// duration.
func NewFactory(compactAfter time.Duration, log *zap.Logger, registerer prometheus.Registerer) Factory {
	return Factory{compactAfter, log, registerer}
}

// Name implements config.LogDBFactory.
func (Factory) Name() string { return name }

// Create implements config.LogDBFactory: it opens the log in the first directory. The
// callback is not told when saves have to wait: it takes a lock under which dragonboat
// itself saves, and the one worker that would read what it tells waits in a save.
func (f Factory) Create(_ config.NodeHostConfig, _ config.LogDBCallback, dirs, _ []string) (raftio.ILogDB, error) {
	return open(vfs.Default, filepath.Join(dirs[0], "log"), f.compactAfter, f.log, f.registerer)
}

// Log holds the logs of a node's replicas. Its methods may be called concurrently;
// those that change one replica's log wait for each other.
type Log struct {
	db      *pebble.DB
	fs      *paced.FS
	metrics *metrics
	// Bytes of entries; tests have less.
	maxBatch int

	mu       sync.Mutex
	replicas map[id]*replica
}

var _ raftio.ILogDB = (*Log)(nil)

// replica is what is known of one replica's log.
type replica struct {
	id
	mu     sync.Mutex
	loaded bool
	// What is stored of term, vote and commit index, and what they are.
	saved, state raftpb.State
	// Index of the last entry, 0 for none, and of the last snapshot record.
	last, snapshot uint64
	// No change of membership has a higher index; see mustStore.
	change uint64
}

func open(fs vfs.FS, dir string, compactAfter time.Duration, log *zap.Logger, registerer prometheus.Registerer) (*Log, error) {
	metrics := newMetrics(registerer)
	events := newEvents(log, metrics)
	pacedFS := paced.New(fs, &events.pace)
	db, err := pebble.Open(dir, pebbleOptions(pacedFS, events, compactAfter))
	if err != nil {
		return nil, fmt.Errorf("open the Raft log in %s: %w", dir, err)
	}
	if err := metrics.register(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Log{db: db, fs: pacedFS, metrics: metrics, maxBatch: maxBatchBytes, replicas: map[id]*replica{}}, nil
}

// Name implements raftio.ILogDB.
func (*Log) Name() string { return name }

// BinaryFormat implements raftio.ILogDB.
func (*Log) BinaryFormat() uint32 { return binaryFormat }

// Close implements raftio.ILogDB. Commit indexes that were not worth a sync are
// stored, so that the next start knows all that was committed.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch := l.db.NewBatch()
	var err error
	for _, r := range l.replicas {
		if r.loaded && r.state != r.saved {
			err = errors.Join(err, putState(batch, r.id, r.state))
		}
	}
	if err == nil && !batch.Empty() {
		err = batch.Commit(pebble.Sync)
	}
	l.metrics.unregister()
	l.fs.Hurry()
	return errors.Join(err, batch.Close(), l.db.Close())
}

// lock returns a replica, locked, with what is stored of it.
func (l *Log) lock(of id) (*replica, error) {
	l.mu.Lock()
	r := l.replicas[of]
	if r == nil {
		r = &replica{id: of}
		l.replicas[of] = r
	}
	l.mu.Unlock()
	r.mu.Lock()
	if r.loaded {
		return r, nil
	}
	if err := l.load(r); err != nil {
		r.mu.Unlock()
		return nil, fmt.Errorf("the Raft log of group %d: %w", of.ShardID, err)
	}
	return r, nil
}

func (l *Log) load(r *replica) error {
	var snapshot raftpb.Snapshot
	r.saved, r.last = raftpb.State{}, 0
	if _, err := l.get(kindState, r.id, &r.saved); err != nil {
		return err
	}
	if _, err := l.get(kindSnapshot, r.id, &snapshot); err != nil {
		return err
	}
	iterator, err := l.entries(r.id, 0, 0)
	if err != nil {
		return err
	}
	if iterator.Last() {
		r.last = indexOf(iterator.Key())
	}
	// What the entries are is not looked up.
	r.change = r.last
	r.state, r.snapshot, r.loaded = r.saved, snapshot.Index, true
	return iterator.Close()
}
