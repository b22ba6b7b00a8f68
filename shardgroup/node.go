package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"
	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/shardgroup/overrides"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// Node is one process's share of a cluster: the replicas of its groups over
// one Raft node host and one store. All methods may be called concurrently.
type Node struct {
	options  Options
	identity identity
	log      *zap.Logger
	metrics  *metrics
	registry *registry
	limits   *limits
	engine   *kv.Engine
	// Shared by the groups.
	cache *statemachine.Cache
	host  *dragonboat.NodeHost

	// Nil without a file.
	overrides *overrides.File
	// What runs until the node is closed, whatever the groups do.
	background       sync.WaitGroup
	cancelBackground context.CancelFunc

	mu     sync.RWMutex
	groups map[uint64]*Group
	closed bool
}

// Open starts a node on its data directory and returns when all its groups
// serve: a majority of the cluster's nodes must be there. A new data directory
// becomes a new cluster of one node, or takes part in founding one of several
// (Options.Founding). The context bounds the start only.
//
// Errors wrap ErrDataDir if the directory must not be used.
func Open(ctx context.Context, options Options, log *zap.Logger, registerer prometheus.Registerer) (*Node, error) {
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
		options: options, identity: id, log: log,
		metrics: newMetrics(registerer), registry: newRegistry(), groups: map[uint64]*Group{},
		cache: statemachine.NewCache(options.IndexCacheBytes),
	}
	n.limits = newLimits(options, n.metrics)
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	var err error
	n.engine, err = kv.OpenEngine(filepath.Join(n.options.DataDir, "store"), kv.EngineOptions{
		// The Raft log is the write-ahead log.
		Durability: kv.NoWAL,
		CacheBytes: n.options.CacheBytes, MemTableBytes: n.options.MemTableBytes,
		Logger: n.log.Named("store"),
	})
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	if err := n.metrics.registerer.Register(n.engine.Metrics()); err != nil {
		return err
	}
	if err := n.metrics.registerer.Register(groupState{n}); err != nil {
		return err
	}
	if err := n.followOverrides(); err != nil {
		return err
	}
	logRaftTo(n.log)
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	if err := followHostname(n.raftDir(), hostname, n.deploymentID()); err != nil {
		return err
	}
	if n.host, err = dragonboat.NewNodeHost(n.hostConfig()); err != nil {
		return fmt.Errorf("start Raft on %s: %w", n.options.RaftAddress, err)
	}
	return n.startGroups(ctx)
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
	ctx, cancel := context.WithCancel(context.Background())
	n.cancelBackground = cancel
	n.background.Go(func() {
		ticker := time.NewTicker(n.options.OverridesInterval)
		defer ticker.Stop()
		n.overrides.Run(ctx, ticker.C)
	})
	return nil
}

func (n *Node) raftDir() string { return filepath.Join(n.options.DataDir, "raft") }

// deploymentID keeps clusters from talking to each other by accident.
func (n *Node) deploymentID() uint64 { return max(xxhash.Sum64String(n.identity.ClusterID), 1) }

func (n *Node) hostConfig() config.NodeHostConfig {
	logDB := config.GetSmallMemLogDBConfig()
	// Groups share the write-ahead logs of their log shard: few shards gather
	// more groups' entries in each fsync.
	logDB.Shards = 4
	return config.NodeHostConfig{
		NodeHostDir:       n.raftDir(),
		RTTMillisecond:    uint64(n.options.RTT.Milliseconds()),
		RaftAddress:       n.options.RaftAddress,
		DeploymentID:      n.deploymentID(),
		NodeHostID:        n.identity.NodeID,
		RaftEventListener: n,
		EnableMetrics:     true,
		Expert: config.ExpertConfig{
			NodeRegistryFactory: n.registry,
			LogDB:               logDB,
			Engine:              config.EngineConfig{ExecShards: 4, CommitShards: 4, ApplyShards: 4, SnapshotShards: 4, CloseShards: 4},
		},
	}
}

// LeaderUpdated implements raftio.IRaftEventListener.
func (n *Node) LeaderUpdated(info raftio.LeaderInfo) {
	if g := n.group(info.ShardID); g != nil && g.replicaID == info.ReplicaID {
		g.leader.observe(info)
	}
}

// ID returns the node's identity.
func (n *Node) ID() string { return n.identity.NodeID }

// ClusterID returns the identity of the node's cluster.
func (n *Node) ClusterID() string { return n.identity.ClusterID }

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

// Ready returns nil if every group of the node has a leader.
func (n *Node) Ready() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.closed {
		return fmt.Errorf("%w: the node is shutting down", ErrNotReady)
	}
	for id := range n.groups {
		if _, _, known, err := n.host.GetLeaderID(id); err != nil || !known {
			return fmt.Errorf("%w: group %d has no leader", ErrNotReady, id)
		}
	}
	return nil
}

func (n *Node) group(id uint64) *Group {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.groups[id]
}

func (n *Node) addGroup(g *Group) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.groups[g.id] = g
}

func (n *Node) dropGroup(g *Group) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.groups, g.id)
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
	groups := make([]*Group, 0, len(n.groups))
	for _, g := range n.groups {
		groups = append(groups, g)
	}
	n.mu.Unlock()
	if n.cancelBackground != nil {
		n.cancelBackground()
	}
	n.background.Wait()
	var stopping sync.WaitGroup
	for _, g := range groups {
		stopping.Go(func() { g.stop(n.log) })
	}
	stopping.Wait()
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
	n.metrics.unregister()
	return err
}

// retryDelay spaces attempts to reach a group that is starting.
const retryDelay = 20 * time.Millisecond

// untilReady repeats a step of the start while the group is electing a leader.
func untilReady(ctx context.Context, step func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, proposalTimeout)
		err := step(attempt)
		cancel()
		retry := errors.Is(err, ErrNotReady) || errors.Is(err, ErrAmbiguous) || errors.Is(err, ErrOverloaded) || errors.Is(err, context.DeadlineExceeded)
		if err == nil || !retry {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last attempt: %w)", ctx.Err(), err)
		case <-time.After(retryDelay):
		}
	}
}

// requestIDBytes is the length of the id that all attempts of a command share.
const requestIDBytes = 16

func newRequestID() []byte {
	id := uuid.New()
	return id[:]
}

var _ config.NodeRegistryFactory = (*registry)(nil)
var _ raftio.IRaftEventListener = (*Node)(nil)
