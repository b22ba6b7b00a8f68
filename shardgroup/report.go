package shardgroup

import (
	"context"
	"sync"

	"github.com/lni/dragonboat/v4"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// report tells what the node is doing.
func (n *Node) report(ctx context.Context) *nodev1.NodeReport {
	return &nodev1.NodeReport{
		Node: n.record, ProcessId: n.processID, Replicas: n.replicas(ctx), Disk: n.diskReport(),
		MapVersion: n.maps.version(), Stopping: n.stopping.Load(),
	}
}

// replicas describes the node's replicas, and those that cannot run.
func (n *Node) replicas(ctx context.Context) []*nodev1.GroupReplica {
	groups := n.all()
	n.mu.RLock()
	host := n.host
	n.mu.RUnlock()
	if host == nil {
		return nil
	}
	shards := map[uint64]dragonboat.ShardInfo{}
	for _, shard := range host.GetNodeHostInfo(dragonboat.NodeHostInfoOption{SkipLogInfo: true}).ShardInfoList {
		shards[shard.ShardID] = shard
	}
	answers := make([]*nodev1.GroupReplica, len(groups))
	ctx, cancel := context.WithTimeout(ctx, min(membershipPatience, n.options.HeartbeatInterval))
	defer cancel()
	var asking sync.WaitGroup
	for i, g := range groups {
		answers[i] = g.describe()
		// The leader tells who is a member: what a follower knows may be old.
		if shard := shards[g.id]; answers[i].GetLeaderReplicaId() == g.replicaID && !shard.Pending {
			asking.Go(func() { answers[i].Membership = n.recentMembership(ctx, g, shard.ConfigChangeIndex) })
		}
	}
	asking.Wait()
	return append(answers, n.absent()...)
}

// absent describes replicas that the node ought to run and does not.
func (n *Node) absent() []*nodev1.GroupReplica {
	m := n.maps.known()
	if m == nil {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	var absent []*nodev1.GroupReplica
	for _, record := range m.Proto().GetGroups() {
		own := record.ReplicaOn(n.identity.NodeID)
		if own == nil || n.groups[record.GetGroupId()] != nil {
			continue
		}
		replica := &nodev1.GroupReplica{GroupId: record.GetGroupId(), ReplicaId: own.GetReplicaId()}
		switch fault := n.faults[record.GetGroupId()]; {
		case n.suspended.Load():
			replica.State, replica.Error = nodev1.ReplicaState_REPLICA_STATE_SUSPENDED, "stopped until the disk has space"
		case fault != nil:
			replica.State, replica.Error = nodev1.ReplicaState_REPLICA_STATE_FAILED, fault.Error()
		default:
			replica.Error = "not started yet"
		}
		absent = append(absent, replica)
	}
	return absent
}

// describe reads the local replica, however far it is.
func (g *Group) describe() *nodev1.GroupReplica {
	replica := &nodev1.GroupReplica{
		GroupId: g.id, ReplicaId: g.replicaID, State: nodev1.ReplicaState_REPLICA_STATE_RUNNING,
	}
	status, err := g.status.get(g, statemachine.ReadStatus{})
	if err != nil {
		replica.Error = err.Error()
		return replica
	}
	replica.AppliedIndex, replica.LeaderEpoch, replica.LogTime = status.Applied, status.LeaderEpoch, status.LogTime
	replica.Blocks, replica.ObjectBytes, replica.Ranges = status.Blocks, status.ObjectBytes, status.Ranges
	replica.Initialised = status.GroupID != 0
	leader, term, known, err := g.host.GetLeaderID(g.id)
	switch {
	case err != nil: // dragonboat has stopped it
		replica.Error = err.Error()
	case known:
		replica.LeaderReplicaId, replica.Term = leader, term
	}
	return replica
}

// cached keeps what a replica answered until its state changes: reports and plans
// look again and again, and most replicas do nothing.
type cached[T any] struct {
	mu    sync.Mutex
	known bool
	at    uint64 // changes before the answer was read
	value T
}

// get returns the answer to a query, always the same one, from the replica's own
// state. It must not be changed.
func (c *cached[T]) get(g *Group, query statemachine.Query) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := g.changes.Load()
	if c.known && c.at == at {
		return c.value, nil
	}
	answer, err := g.ReadStale(query)
	if err != nil {
		var none T
		return none, err
	}
	c.known, c.at, c.value = true, at, answer.(T)
	return c.value, nil
}

// leaderNode returns the node that leads a group, as far as this one knows.
func (n *Node) leaderNode(groupID uint64) string {
	n.mu.RLock()
	host := n.host
	n.mu.RUnlock()
	m := n.maps.known()
	if host == nil || m == nil {
		return ""
	}
	leader, _, known, err := host.GetLeaderID(groupID)
	if err != nil || !known {
		return ""
	}
	for _, replica := range m.Group(groupID).GetReplicas() {
		if replica.GetReplicaId() == leader {
			return replica.GetNodeId()
		}
	}
	return ""
}
