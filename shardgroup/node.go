package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/shardgroup/disk"
	"github.com/skerrydb/skerry/shardgroup/overrides"
	"github.com/skerrydb/skerry/shardgroup/raftlog"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// Node is one process's share of a cluster: the replicas of its groups over
// one Raft node host and one store. All methods may be called concurrently.
type Node struct {
	options Options
	// As it registers with the cluster.
	record   *clusterv1.Node
	log      *zap.Logger
	metrics  *metrics
	registry *registry
	book     *addressBook
	maps     *mapFeed
	limits   *limits
	engine   *kv.Engine
	// Shared by the groups.
	cache *statemachine.Cache
	// Tells apart processes on copies of one data directory.
	processID string

	// Nil without a file.
	overrides *overrides.File
	spreading spreading
	// What runs until the node is closed, whatever the groups do.
	background       sync.WaitGroup
	life             context.Context
	cancelBackground context.CancelFunc

	// Told when the local replica of the directory has applied something.
	directoryApplied chan struct{}
	// Wakes the reconciler.
	kick chan struct{}
	// Told when the cluster knows of this start.
	introduced chan struct{}
	// The first fault that the process must not survive.
	failed chan error
	// The directory's leader runs it; nil elsewhere.
	controller atomic.Pointer[controller]
	// The cluster knows this start of the node.
	registered atomic.Bool
	// The node says hello to all others.
	greeting atomic.Bool
	// The node gives its leaders away and takes no new ones.
	stopping atomic.Bool
	// Replicas are stopped until the disk has space.
	suspended atomic.Bool
	// Leaders are being moved away from a bad disk.
	shedding atomic.Bool
	disk     *disk.Watchdog
	mailbox  *mailbox // nil with dragonboat's own transport
	// What writers left in the object store; nil until lettersKnown is closed.
	letters      atomic.Pointer[deadLetters]
	lettersKnown chan struct{}
	heartbeat    heartbeat
	readiness    readiness
	records      *records

	joining sync.Mutex // one attempt to become part of a cluster at a time
	// Held while replicas are started, or suspended.
	placing sync.Mutex

	mu       sync.RWMutex
	identity identity
	host     *dragonboat.NodeHost // nil before the node has a cluster
	founding *clusterv1.RangeMap  // nil unless the node founded its cluster
	groups   map[uint64]*Group
	faults   map[uint64]error  // why a replica cannot be started
	gone     map[uint64]uint64 // group → replica that dragonboat has stopped by itself
	closed   bool

	// Why removals do not end, as it was told last. Of the reconciler.
	unremoved map[uint64]string
}

// Open starts a node on its data directory. It returns once the replicas that
// the node knows of have begun to start; the rest goes on in the background:
// see Ready. A new data directory becomes a cluster of its own (Options.Found),
// takes part in founding one (Options.Founding), or waits for one.
//
// Errors wrap ErrDataDir if the directory must not be used.
func Open(_ context.Context, options Options, log *zap.Logger, registerer prometheus.Registerer) (*Node, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	options = options.withDefaults()
	id, err := loadIdentity(options.DataDir, options.founding())
	if err != nil {
		return nil, err
	}
	if err := options.checkFounded(id); err != nil {
		return nil, err
	}
	n := &Node{
		options: options, identity: id, log: log, processID: uuid.NewString(),
		metrics: newMetrics(registerer), registry: newRegistry(),
		groups: map[uint64]*Group{}, faults: map[uint64]error{}, gone: map[uint64]uint64{}, unremoved: map[uint64]string{},
		cache:            statemachine.NewCache(options.IndexCacheBytes),
		directoryApplied: make(chan struct{}, 1), kick: make(chan struct{}, 1), introduced: make(chan struct{}, 1), failed: make(chan error, 1),
		lettersKnown: make(chan struct{}),
		records:      newRecords(options.recordWork),
	}
	n.life, n.cancelBackground = context.WithCancel(context.Background())
	n.maps = newMapFeed(func(m *clusterv1.RangeMap) error { return saveMapFile(options.DataDir, mapFile, m) })
	n.limits = newLimits(options, n.metrics)
	n.spreading.begun = make(chan struct{})
	if options.Transport != nil {
		n.mailbox = &mailbox{TransportFactory: options.Transport}
	}
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) start() error {
	var err error
	n.engine, err = kv.OpenEngine(filepath.Join(n.options.DataDir, "store"), kv.EngineOptions{
		// The Raft log is the write-ahead log.
		Durability: kv.NoWAL,
		CacheBytes: n.options.CacheBytes, MemTableBytes: n.options.MemTableBytes, CompactAfter: compactAfter,
		Logger: n.log.Named("store"),
	})
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	boots, err := readBoots(n.options.DataDir)
	if err != nil {
		return err
	}
	n.record = &clusterv1.Node{
		NodeId: n.identity.NodeID, RaftAddress: n.options.RaftAddress, ApiAddress: n.options.APIAddress, Zone: n.options.Zone,
		Boots: boots + 1, Version: n.options.Version, MinFormat: clusterv1.MinFormat, MaxFormat: clusterv1.MaxFormat,
	}
	n.book = newAddressBook(n.record, n.registry)
	for _, collector := range []prometheus.Collector{n.engine.Metrics(), groupState{n}} {
		if err := n.metrics.registerer.Register(collector); err != nil {
			return err
		}
	}
	if err := n.followOverrides(); err != nil {
		return err
	}
	logRaftTo(n.log)
	if err := n.watchDisk(); err != nil {
		return err
	}
	if err := n.loadBeginnings(); err != nil {
		return err
	}
	member := n.ClusterID() != ""
	if member {
		err := n.remember()
		if err == nil {
			err = n.askAround(n.life)
		}
		if err != nil {
			return err
		}
	}
	// A start that was refused does not count: an old copy that is started again
	// and again must not overtake the original.
	if err := writeBoots(n.options.DataDir, n.record.GetBoots()); err != nil {
		return err
	}
	if member {
		if err := n.begin(); err != nil {
			return err
		}
	}
	n.background.Go(func() { n.meet(n.life) })
	n.background.Go(func() { n.keepRecords(n.life) })
	return nil
}

// followOverrides reads the overrides file now and from time to time.
func (n *Node) followOverrides() error {
	if n.options.OverridesPath == "" {
		return nil
	}
	var err error
	if n.overrides, err = overrides.Open(n.options.OverridesPath, n.log, n.metrics.registerer); err != nil {
		return err
	}
	n.background.Go(func() {
		ticker := time.NewTicker(n.options.OverridesInterval)
		defer ticker.Stop()
		n.overrides.Run(n.life, ticker.C)
	})
	return nil
}

func (n *Node) raftDir() string { return filepath.Join(n.options.DataDir, "raft") }

// deploymentID keeps clusters from talking to each other by accident.
func (n *Node) deploymentID() uint64 { return DeploymentID(n.ClusterID()) }

// compactAfter is how long a start has the processors for itself: what its stores were
// left to compact comes after it has applied its log.
const compactAfter = 3 * time.Second

// raftQueueBytes bounds the entries that wait in one connection's queue, and in
// that of a replica for what it receives; one message may exceed it. It must hold
// the largest, of 64 MiB of entries or one entry. Beyond, dragonboat drops what
// comes, and Raft asks again.
const raftQueueBytes = 80 << 20

func (n *Node) hostConfig() config.NodeHostConfig {
	logDB := config.GetSmallMemLogDBConfig()
	// One worker steps all groups and syncs what they wrote at once, so a group
	// that shares the node costs an entry, not a sync. Both numbers belong to the
	// format of the data directory.
	logDB.Shards = 1
	c := config.NodeHostConfig{
		NodeHostDir:       n.raftDir(),
		RTTMillisecond:    uint64(tickRTT * n.options.RTT.Milliseconds()),
		RaftAddress:       n.options.RaftAddress,
		ListenAddress:     n.options.RaftListenAddress,
		DeploymentID:      n.deploymentID(),
		NodeHostID:        n.ID(),
		RaftEventListener: n,
		EnableMetrics:     true,
		MaxSendQueueSize:  raftQueueBytes, MaxReceiveQueueSize: raftQueueBytes,
		Expert: config.ExpertConfig{
			NodeRegistryFactory: n.registry,
			LogDB:               logDB,
			LogDBFactory:        raftlog.NewFactory(compactAfter, n.log.Named("raft"), n.metrics.registerer),
			// Workers that apply look at all their groups five times a second: no more
			// of them than can work at once.
			Engine: config.EngineConfig{ExecShards: 1, CommitShards: 1, ApplyShards: uint64(min(4, runtime.GOMAXPROCS(0))), SnapshotShards: 4, CloseShards: 4},
		},
	}
	if n.mailbox != nil {
		c.Expert.TransportFactory = n.mailbox
	}
	return c
}

// LeaderUpdated implements raftio.IRaftEventListener.
func (n *Node) LeaderUpdated(info raftio.LeaderInfo) {
	if g := n.group(info.ShardID); g != nil && g.replicaID == info.ReplicaID {
		g.leader.observe(info)
	}
}

// ID returns the node's identity.
func (n *Node) ID() string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.identity.NodeID
}

// ClusterID returns the identity of the node's cluster, empty before it has one.
func (n *Node) ClusterID() string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.identity.ClusterID
}

// Failed returns a channel that yields the fault after which the process must
// end: the disk failed, or the cluster refuses the node.
func (n *Node) Failed() <-chan error { return n.failed }

// fail reports the first fault that must end the process.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// LeaderEpoch returns the epoch that this node's replica claimed as the group's
// leader, 0 if it does not lead or has not claimed it yet.
func (n *Node) LeaderEpoch(groupID uint64) uint64 {
	if g := n.group(groupID); g != nil {
		return g.leader.epoch.Load()
	}
	return 0
}

// Groups returns the ids of the groups with a replica on the node, sorted.
func (n *Node) Groups() []uint64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	ids := make([]uint64, 0, len(n.groups))
	for id := range n.groups {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// dataGroups returns the ids of the groups with a replica on the node, without
// the directory's.
func (n *Node) dataGroups() []uint64 {
	return slices.DeleteFunc(n.Groups(), func(id uint64) bool { return id == clusterv1.DirectoryGroup })
}

func (n *Node) group(id uint64) *Group {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.groups[id]
}

// all returns the running replicas in order of their groups.
func (n *Node) all() []*Group {
	var groups []*Group
	for _, id := range n.Groups() {
		if g := n.group(id); g != nil {
			groups = append(groups, g)
		}
	}
	return groups
}

// addGroup reports false if the node is closed.
func (n *Node) addGroup(g *Group) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.groups[g.id] = g
	return true
}

func (n *Node) dropGroup(g *Group) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.groups[g.id] == g {
		delete(n.groups, g.id)
	}
}

// Close stops the node in order: no new work, what is in flight, replicas, Raft,
// store. What was applied is flushed, so that the next start replays little.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	n.cancelBackground()
	if n.disk != nil {
		n.disk.Close()
	}
	func() { // from here on nobody becomes a member any more
		n.joining.Lock()
		defer n.joining.Unlock()
	}()
	n.background.Wait()
	n.recordLast()
	n.stopGroups(n.all(), func(g *Group) { g.stop(n.log) })
	if n.host != nil {
		n.host.Close()
	}
	var err error
	if n.engine != nil {
		n.metrics.registerer.Unregister(n.engine.Metrics())
		n.metrics.registerer.Unregister(groupState{n})
		err = n.engine.Close()
	}
	if n.overrides != nil {
		n.overrides.Close()
	}
	if d := n.letters.Load(); d != nil && d.recovery != nil {
		d.recovery.Close()
	}
	n.metrics.unregister()
	return err
}

// stopGroups stops replicas at the same time and waits for them.
func (n *Node) stopGroups(groups []*Group, stop func(*Group)) {
	var stopping sync.WaitGroup
	for _, g := range groups {
		stopping.Go(func() { stop(g) })
	}
	stopping.Wait()
}

// requestIDBytes is the length of the id that all attempts of a command share.
const requestIDBytes = 16

func newRequestID() []byte {
	id := uuid.New()
	return id[:]
}

var _ config.NodeRegistryFactory = (*registry)(nil)
var _ raftio.IRaftEventListener = (*Node)(nil)
