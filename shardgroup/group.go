package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	dbsm "github.com/lni/dragonboat/v4/statemachine"
	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

const (
	// An entry that is not applied after this time has an unknown outcome.
	proposalTimeout = 5 * time.Second
	// Round trips (Options.RTT) in a tick: dragonboat's clock, at which it visits
	// each group. A leader sends a heartbeat at each tick, and idle groups do nothing
	// else. Neither commits nor reads wait for ticks.
	tickRTT = 4
	// Elections start after that many round trips without a leader, or up to twice as
	// many.
	electionRTT = 3 * tickRTT
	// Bytes of entries not yet applied that a replica keeps in memory. Must
	// exceed the largest entry: one block of metastorev1.MaxBlockBytes.
	maxInMemoryLog = 128 << 20
	// Entries kept behind a snapshot of all data that a replica was sent.
	compactionOverhead = 4096
)

// Group is the node's replica of a Raft group.
type Group struct {
	id        uint64
	replicaID uint64
	host      *dragonboat.NodeHost
	session   *client.Session
	batcher   *batcher
	reads     *barrier
	leader    *leadership
	polls     *polls
	outbox    *courier // nil for the directory
	metrics   *groupMetrics
	tracing   tracing
	// Ends with the replica.
	life   context.Context
	cancel context.CancelFunc
	// Of what is done once after each start, see settle.
	settling sync.WaitGroup
	// The replica has held, since its start, all that was acknowledged before.
	caughtUp atomic.Bool
	// Why it does not yet; nil once it does.
	unsettled atomic.Pointer[error]
	// The group has its identity.
	initialised atomic.Bool
	members     membershipCache
	status      cached[statemachine.Status]
	// Raised after each change of the replica's state.
	changes atomic.Uint64
	records lastRecords
	// Bounds a read index round.
	roundTimeout time.Duration
	// What an entry may take once there is another leader than it was sent to.
	lostAfter time.Duration
}

// startGroup starts (or restarts) the node's replica. The replica is there when
// it returns; it may take a while to catch up, see settle.
func (n *Node) startGroup(record *clusterv1.Group) error {
	own := record.ReplicaOn(n.ID())
	if own == nil {
		return fmt.Errorf("group %d has no replica on node %s", record.GetGroupId(), n.ID())
	}
	db, err := n.engine.DB(record.GetGroupId())
	if err != nil {
		return fmt.Errorf("group %d: %w", record.GetGroupId(), err)
	}
	g := n.newGroup(record.GetGroupId(), own.GetReplicaId())
	applied, err := n.admit(g, db)
	if err != nil {
		return err
	}
	if !n.addGroup(g) {
		return fmt.Errorf("%w: the node is shutting down", ErrNotReady)
	}
	if err := n.startReplica(g, record, db); err != nil {
		n.halt(g)
		return fmt.Errorf("start group %d: %w", g.id, err)
	}
	if err := n.admitLog(g, applied); err != nil {
		n.halt(g)
		return err
	}
	g.settling.Go(func() { n.campaign(g.life, g, record) })
	g.settling.Go(func() { n.settle(g.life, g, record) })
	return nil
}

func (n *Node) newGroup(id, replicaID uint64) *Group {
	log := n.log.With(zap.Uint64("group", id))
	g := &Group{
		id: id, replicaID: replicaID, host: n.host, session: n.host.GetNoOPSession(id),
		metrics: n.metrics.group(id), roundTimeout: readIndexTimeout(n.options.RTT),
		tracing:   newTracing(n.options.Tracing, id),
		lostAfter: max(100*time.Millisecond, 2*n.options.RTT),
	}
	g.life, g.cancel = context.WithCancel(context.Background())
	g.reads = &barrier{ask: g.readIndex}
	g.batcher = newBatcher(g.sendEntry, n.options.Now, g.metrics, g.tracing)
	g.leader = &leadership{replicaID: replicaID, claimTerm: g.claim(n.ID()), metrics: g.metrics, log: log}
	if g.id == clusterv1.DirectoryGroup {
		g.leader.duties = n.direct
	} else {
		g.outbox = n.newCourier(g)
		g.leader.duties = n.duties(g)
	}
	g.polls = newPolls(g, n.options.Compaction, n.options.Now, n.metrics.compaction, log)
	return g
}

// startReplica hands the replica to dragonboat. Founders begin with the members
// that the group was made with, all others join and learn them from the log. A
// replica that was started before knows them from its own log.
//
// One that joined did so as a learner. Dragonboat wants to be told what a replica
// was when its log begins, and panics over the log of a learner that is started
// as a voter: so it is started as a learner, and again as a voter if the
// beginning of the log says so.
func (n *Node) startReplica(g *Group, record *clusterv1.Group, db *kv.DB) error {
	members := map[uint64]dragonboat.Target{}
	for _, founder := range record.FoundersOrReplicas() {
		members[founder.GetReplicaId()] = founder.GetNodeId()
	}
	_, founder := members[g.replicaID]
	restart := n.host.HasNodeInfo(g.id, g.replicaID)
	if restart || !founder {
		members = nil
	}
	config := n.raftConfig(g)
	config.IsNonVoting = !founder
	start := func() error {
		return n.host.StartOnDiskReplica(members, !founder && !restart, n.machineFactory(g, db), config)
	}
	if err := start(); err != nil || founder || !restart {
		return err
	}
	reader, err := n.host.GetLogReader(g.id)
	if err != nil {
		return err
	}
	if _, membership := reader.NodeState(); membership.Addresses[g.replicaID] == "" {
		return nil
	}
	if err := n.awaitLoaded(n.life, g); err != nil {
		return err
	}
	if err := n.host.StopReplica(g.id, g.replicaID); err != nil {
		return err
	}
	config.IsNonVoting = false
	return untilUnloaded(n.life, start)
}

// loadTimeout bounds what dragonboat's workers take to take a replica in, and to let
// go of it.
const loadTimeout = 10 * time.Second

// awaitLoaded waits until a replica has begun to work. Dragonboat panics over one
// that is stopped and started again while its workers are taking it in: only
// after that it knows that they have not let go of it yet.
func (n *Node) awaitLoaded(ctx context.Context, g *Group) error {
	for deadline := time.Now().Add(loadTimeout); ; pause(ctx, time.Millisecond) {
		if _, err := n.host.StaleRead(g.id, statemachine.ReadStatus{}); !errors.Is(err, dragonboat.ErrShardNotInitialized) {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%w: Raft has not loaded the replica within %s", ErrNotReady, loadTimeout)
		}
	}
}

// untilUnloaded starts a replica that was stopped a moment ago: dragonboat needs
// a while to let go of it.
func untilUnloaded(ctx context.Context, start func() error) error {
	for deadline := time.Now().Add(loadTimeout); ; pause(ctx, 5*time.Millisecond) {
		err := start()
		if !errors.Is(err, dragonboat.ErrShardAlreadyExist) {
			return err
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%w: Raft has not let go of the replica within %s: %w", ErrNotReady, loadTimeout, err)
		}
	}
}

func (n *Node) machineFactory(g *Group, db *kv.DB) dbsm.CreateOnDiskStateMachineFunc {
	return func(shardID, _ uint64) dbsm.IOnDiskStateMachine {
		machine := statemachine.NewData(db, n.cache)
		if shardID == clusterv1.DirectoryGroup {
			machine = statemachine.NewDirectory(db, n.cache)
		}
		return &replica{Machine: machine, groupID: shardID, raftDir: n.raftDir(), metrics: n.metrics, applied: func(entries, bytes int) {
			g.metrics.bytes.Add(float64(bytes))
			g.changes.Add(1)
			work := workOf(entries, bytes)
			g.records.work.Add(work)
			n.records.applied(work)
			if shardID == clusterv1.DirectoryGroup {
				wake(n.directoryApplied)
			}
		}}
	}
}

func (n *Node) raftConfig(g *Group) config.Config {
	return config.Config{
		ShardID: g.id, ReplicaID: g.replicaID,
		// A leader that cannot reach a majority steps down; a candidate asks
		// before it disturbs a working group.
		CheckQuorum: true, PreVote: true,
		ElectionRTT: electionRTT / tickRTT, HeartbeatRTT: 1,
		// The node makes snapshot records itself, see records.
		SnapshotEntries: 0, CompactionOverhead: compactionOverhead,
		OrderedConfigChange: true,
		MaxInMemLogSize:     maxInMemoryLog,
	}
}

// Propose replicates a command and returns its result once it is applied.
//
// Errors: ErrOverloaded, ErrNotReady and ErrBadRequest (no effect), ErrAmbiguous
// (unknown), the context's error (unknown).
func (g *Group) Propose(ctx context.Context, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	return g.proposeAnd(ctx, command, nil)
}

// proposeAnd is Propose; what is known to be applied is told, whether the caller
// still waits or not.
func (g *Group) proposeAnd(ctx context.Context, command *raftlogv1.Command, applied func(*raftlogv1.Result)) (*raftlogv1.Result, error) {
	ctx, span := g.tracing.start(ctx, "raft propose")
	result, err := g.batcher.propose(ctx, command, applied)
	g.tracing.end(span, err)
	return result, err
}

// sendEntry proposes one entry and waits for its results.
func (g *Group) sendEntry(entry *raftlogv1.Entry) (*raftlogv1.Results, error) {
	encoded, err := entry.MarshalVT()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	another := g.leader.another()
	request, err := g.host.Propose(g.session, encoded, proposalTimeout)
	if err != nil {
		return nil, fmt.Errorf("group %d: %w", g.id, fromRaft(err))
	}
	defer request.Release()
	var outcome dragonboat.RequestResult
	select {
	case outcome = <-request.ResultC():
	case <-another:
		// The entry was lost on its way to the old leader, or the new one has it
		// and applies it soon. Nothing tells; the queue must not wait for ever.
		select {
		case outcome = <-request.ResultC():
		case <-time.After(g.lostAfter):
			return nil, fmt.Errorf("group %d has a new leader: %w", g.id, ErrAmbiguous)
		}
	}
	switch {
	case outcome.Completed():
		g.metrics.applied(time.Since(start))
		results := &raftlogv1.Results{}
		if err := results.UnmarshalVT(outcome.GetResult().Data); err != nil {
			return nil, fmt.Errorf("group %d: results: %w", g.id, err)
		}
		return results, nil
	case outcome.Dropped():
		return nil, fmt.Errorf("group %d has no leader: %w", g.id, ErrNotReady)
	default:
		// Timed out, or the replica was stopped: the entry may be in the log.
		return nil, fmt.Errorf("group %d: %w", g.id, ErrAmbiguous)
	}
}

// Read answers a query of package statemachine from a state that holds
// everything that was acknowledged before the call, on whatever replica.
func (g *Group) Read(ctx context.Context, query statemachine.Query) (any, error) {
	ready, err := g.await(ctx)
	if err != nil {
		return nil, err
	}
	return g.lookup(ctx, ready, query)
}

// await returns when the local replica holds everything that was acknowledged
// before the call. Reads at the same time share the work.
func (g *Group) await(ctx context.Context) (*dragonboat.RequestState, error) {
	start := time.Now()
	ctx, span := g.tracing.start(ctx, "raft read index")
	ready, err := g.reads.wait(ctx)
	g.tracing.end(span, err)
	g.metrics.waited(time.Since(start))
	return ready, err
}

// lookup reads the local replica in the caller's goroutine.
func (g *Group) lookup(ctx context.Context, ready *dragonboat.RequestState, query statemachine.Query) (_ any, fault error) {
	defer unreadable(&fault)
	start := time.Now()
	_, span := g.tracing.start(ctx, "state machine read")
	answer, err := g.host.ReadLocalNode(ready, query)
	g.tracing.end(span, err)
	g.metrics.lookup(time.Since(start))
	if err != nil && ctx.Err() != nil && !errors.Is(err, statemachine.ErrTooLarge) {
		return nil, ctx.Err()
	}
	return answer, fromRaft(err)
}

// ReadStale answers a query from whatever the replica has applied.
func (g *Group) ReadStale(query statemachine.Query) (_ any, fault error) {
	defer unreadable(&fault)
	answer, err := g.host.StaleRead(g.id, query)
	return answer, fromRaft(err)
}

// unreadable makes an error of the store's panic over a disk that cannot be read: other
// replicas can answer. It must be deferred itself.
func unreadable(fault *error) {
	switch r := recover().(type) {
	case nil:
	case error:
		if !errors.Is(r, kv.ErrRead) {
			panic(r)
		}
		*fault = fmt.Errorf("%w: the replica's state cannot be read: %w", ErrNotReady, r)
	default:
		panic(r)
	}
}

// wake fills a channel of one, which somebody waits for.
func wake(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

// stop refuses new work, waits for what is in flight and stops the replica.
func (g *Group) stop(log *zap.Logger) {
	g.cancel()
	g.settling.Wait()
	g.leader.stop()
	g.batcher.close()
	g.reads.close()
	if err := g.host.StopReplica(g.id, g.replicaID); err != nil && !errors.Is(err, dragonboat.ErrShardNotFound) {
		log.Warn("stopping a replica failed", zap.Uint64("group", g.id), zap.Error(err))
	}
	g.reads.settle()
}
