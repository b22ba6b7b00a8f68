package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/lni/dragonboat/v4"
	dto "github.com/prometheus/client_model/go"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup/delivery"
	"github.com/skerrydb/skerry/statemachine"
)

// CompactLogs makes a snapshot record of each group now, and keeps little of the log
// behind it.
func (n *Node) CompactLogs() error {
	n.mu.RLock()
	groups := slices.Collect(maps.Values(n.groups))
	n.mu.RUnlock()
	var errs []error
	for _, g := range groups {
		if _, err := g.requestRecord(context.Background(), dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionOverhead: 512}); err != nil {
			errs = append(errs, fmt.Errorf("group %d: %w", g.id, err))
		}
	}
	return errors.Join(errs...)
}

// RecordEvery has the node make a round of snapshot records after so much work.
func (o *Options) RecordEvery(work int64) { o.recordWork = work }

// RecordRound makes a round of snapshot records now.
func (n *Node) RecordRound(ctx context.Context) { n.recordRound(ctx) }

// Log returns where the node's replica of a group has its last snapshot record, and the
// entries that its log holds.
func (n *Node) Log(groupID uint64) (record, first, last uint64) {
	log, err := n.host.GetLogReader(groupID)
	if err != nil {
		panic(err)
	}
	first, last = log.GetRange()
	return log.Snapshot().Index, first, last
}

// HoldRounds makes each read index round of a group wait until it is released.
// There must be no reads of the group in progress.
func (n *Node) HoldRounds(groupID uint64) (release func(), stop func()) {
	g := n.group(groupID)
	ask, gate := g.reads.ask, make(chan struct{})
	g.reads.ask = func(reads int) (*dragonboat.RequestState, error) {
		<-gate
		return ask(reads)
	}
	return func() { gate <- struct{}{} }, sync.OnceFunc(func() { close(gate) })
}

// WaitingReads returns how many reads have joined a round that has not begun.
func (n *Node) WaitingReads(groupID uint64) int {
	b := n.group(groupID).reads
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		return 0
	}
	return b.next.reads
}

// RoundRuns tells whether a read index round of a group is in progress.
func (n *Node) RoundRuns(groupID uint64) bool {
	b := n.group(groupID).reads
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running && b.next == nil
}

// TransferLeadership asks a group to make another replica its leader.
func (n *Node) TransferLeadership(groupID, replicaID uint64) error {
	return n.host.RequestLeaderTransfer(groupID, replicaID)
}

// ReadDirectly is Group.Read with a read index round for each read.
func (n *Node) ReadDirectly(ctx context.Context, groupID uint64, query statemachine.Query) (any, error) {
	return n.host.SyncRead(ctx, groupID, query)
}

// Read is Group.Read.
func (n *Node) Read(ctx context.Context, groupID uint64, query statemachine.Query) (any, error) {
	return n.group(groupID).Read(ctx, query)
}

// ReadsInProgress returns how many reads of data have been let in.
func (n *Node) ReadsInProgress() int { return len(n.limits.entered) }

// ReadsWorking returns how many of them read the store.
func (n *Node) ReadsWorking() int { return len(n.limits.reading) }

// OnDecision has a function called between each decision of a group about a poll
// and what follows from it. There must be no polls in progress.
func (n *Node) OnDecision(groupID uint64, fn func()) { n.group(groupID).polls.decided = fn }

// ReloadOverrides reads the overrides file now.
func (n *Node) ReloadOverrides() { n.overrides.Reload() }

// WaitingPolls returns how many polls of a group wait for their turn.
func (n *Node) WaitingPolls(groupID uint64) int { return int(n.group(groupID).polls.waiting.Load()) }

// Sweeps returns how many sweeps for expired data succeeded, FailedSweeps how many
// did not.
func (n *Node) Sweeps() float64 { return n.sweeps("complete") + n.sweeps("budget") }

// FailedSweeps returns how many sweeps for expired data failed.
func (n *Node) FailedSweeps() float64 { return n.sweeps("failed") }

func (n *Node) sweeps(outcome string) float64 {
	var metric dto.Metric
	if err := n.metrics.compaction.sweeps.WithLabelValues(outcome).Write(&metric); err != nil {
		panic(err)
	}
	return metric.GetCounter().GetValue()
}

// AppliedBytes returns the bytes of entries that the node's replica of a group
// applied.
func (n *Node) AppliedBytes(groupID uint64) float64 {
	var metric dto.Metric
	if err := n.group(groupID).metrics.bytes.Write(&metric); err != nil {
		panic(err)
	}
	return metric.GetCounter().GetValue()
}

// OnRemoval has a function called between the steps of the removal of a replica; an
// error ends it there.
func (o *Options) OnRemoval(fn func(step string) error) { o.removal = fn }

// Recorded returns the node's replicas, group id to replica id.
func (n *Node) Recorded() map[uint64]uint64 {
	ids, err := n.recordedReplicas()
	if err != nil {
		panic(err)
	}
	return ids
}

// Decide decides a poll on one state, as a leader does, and words it for the log.
func Decide(v statemachine.View, config schedule.Config, now planner.Time, poll *metastorev1.PollCompactionJobsRequest) (*raftlogv1.CompactionDecision, *metastorev1.PollCompactionJobsResponse, error) {
	view := planView{v}
	d, err := schedule.Poll(view, config, now, schedule.FromPoll(poll))
	if err != nil {
		return nil, nil, err
	}
	answer, err := d.Answer(view.workerJob)
	return compactionDecision(v.LeaderEpoch, d), answer, err
}

// Outboxes shows the outboxes of a state to the delivery loop.
func Outboxes(ctx context.Context, v statemachine.View) delivery.Outbox {
	return outboxView{v, ctx}
}

// AckCommands words acks for the log: one command for each range of a state.
func AckCommands(ctx context.Context, v statemachine.View, acks []*raftlogv1.TransferAck) ([]*raftlogv1.Command, error) {
	var commands []*raftlogv1.Command
	for _, group := range (outboxView{v, ctx}).byRange(acks) {
		payload, err := (&raftlogv1.AckTransfers{Acks: group.acks}).MarshalVT()
		if err != nil {
			return nil, err
		}
		commands = append(commands, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_ACK_TRANSFERS, Range: group.ref, Payload: payload})
	}
	return commands, nil
}

// JudgeHandover tells what the failure of a batch means to the delivery loop.
func JudgeHandover(err error) error {
	_, err = judgeHandover(err)
	return err
}

// ToStatus turns an error into what callers of a node see.
func ToStatus(err error, group uint64) error { return toStatus(err, group) }

// OnTransfer has a function called at each step of a transfer that the node takes.
func (o *Options) OnTransfer(fn func(step string)) { o.transfer = fn }

// Hint returns the ranges that a refusal tells of.
func Hint(err error) []*clusterv1.Range { return routeDetail(err).GetCurrent() }

// Describe returns what reports tell of the node's replica of a group.
func (n *Node) Describe(groupID uint64) *nodev1.GroupReplica { return n.group(groupID).describe() }

// StopByRaft stops a replica as dragonboat does by itself, when it has left its group.
func (n *Node) StopByRaft(groupID uint64) error { return n.host.StopShard(groupID) }
