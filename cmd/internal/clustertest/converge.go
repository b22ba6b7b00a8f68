package clustertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// quiet is how long nothing may be applied before a cluster counts as idle: calls
// whose clients left may still take effect.
const quiet = time.Second

// AwaitConverged waits until Converged has nothing to say and nothing is applied
// any more, and returns what was in the way last if that takes longer.
func (c *Cluster) AwaitConverged(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	var before map[uint64]uint64
	since := time.Now()
	for {
		applied, err := c.converged(ctx)
		switch {
		case err == nil && maps.Equal(applied, before):
			if time.Since(since) >= quiet {
				return nil
			}
		case err == nil:
			err = errors.New("something is still applied")
			before, since = applied, time.Now()
		default:
			before = nil
		}
		if err != nil && (ctx.Err() == nil || last == nil) {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", patience, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Converged tells what is not as it ought to be in a cluster without faults and
// without load: the directory is valid and wants nothing that is not so, all nodes
// that are not removed live, and all replicas of a group have the same members,
// have applied the same and own what the directory says.
func (c *Cluster) Converged(ctx context.Context) error {
	_, err := c.converged(ctx)
	return err
}

// converged also returns what the groups have applied.
func (c *Cluster) converged(ctx context.Context) (map[uint64]uint64, error) {
	state, err := c.State(ctx)
	if err != nil {
		return nil, fmt.Errorf("state of the cluster: %w", err)
	}
	m := state.GetMap()
	if _, err := clusterv1.NewMap(m); err != nil {
		return nil, fmt.Errorf("the map: %w", err)
	}
	if err := clusterv1.CheckDirectory(m); err != nil {
		return nil, fmt.Errorf("the directory: %w", err)
	}
	for _, operation := range state.GetOperations() {
		if operation.GetState() == clusterv1.Operation_STATE_RUNNING {
			return nil, fmt.Errorf("operation %d runs: %v", operation.GetOperationId(), operation)
		}
	}
	up, err := nodesUp(state)
	if err != nil {
		return nil, err
	}
	for _, group := range m.GetGroups() {
		if err := wanted(m, group, up); err != nil {
			return nil, err
		}
	}
	return c.replicasAgree(ctx, m)
}

// nodesUp demands that each node is UP and alive, or removed, and counts.
func nodesUp(state *nodev1.ClusterStateResponse) (int, error) {
	alive := map[string]bool{}
	for _, node := range state.GetNodes() {
		alive[node.GetNodeId()] = node.GetAlive()
	}
	up := 0
	for _, node := range state.GetMap().GetNodes() {
		switch id := node.GetNodeId(); {
		case node.GetState() == clusterv1.NodeState_NODE_STATE_REMOVED:
		case node.GetState() != clusterv1.NodeState_NODE_STATE_UP:
			return 0, fmt.Errorf("node %s at %s is %s; plan: %q", id, node.GetApiAddress(), node.GetState(), state.GetPlan())
		case !alive[id]:
			return 0, fmt.Errorf("node %s at %s is not heard of", id, node.GetApiAddress())
		default:
			up++
		}
	}
	return up, nil
}

// wanted demands that the directory has what it strives for: a group is active and
// has as many voters as there should be.
func wanted(m *clusterv1.RangeMap, group *clusterv1.Group, up int) error {
	voters := m.GetCluster().GetSettings().GetReplicationFactor()
	if voters == 0 {
		voters = 3
	}
	if group.GetGroupId() == clusterv1.DirectoryGroup {
		if voters = m.GetCluster().GetSettings().GetDirectoryReplicas(); voters == 0 {
			voters = 5
		}
	}
	want := min(int(voters), up)
	if want%2 == 0 {
		want--
	}
	if group.GetState() != clusterv1.GroupState_GROUP_STATE_ACTIVE {
		return fmt.Errorf("group %d is %s", group.GetGroupId(), group.GetState())
	}
	for _, replica := range group.GetReplicas() {
		if replica.GetRole() != clusterv1.ReplicaRole_REPLICA_ROLE_VOTER {
			return fmt.Errorf("replica %d of group %d is %s", replica.GetReplicaId(), group.GetGroupId(), replica.GetRole())
		}
	}
	if len(group.GetReplicas()) != want {
		return fmt.Errorf("group %d has %d replicas, want %d", group.GetGroupId(), len(group.GetReplicas()), want)
	}
	return nil
}

// replicasAgree compares what the nodes say with the map, and with each other. It
// returns what the groups have applied.
func (c *Cluster) replicasAgree(ctx context.Context, m *clusterv1.RangeMap) (map[uint64]uint64, error) {
	told := map[uint64][]*nodev1.GroupReplica{}
	nodes := map[string]nodev1.NodeServiceClient{}
	for _, n := range c.Nodes {
		if !n.Process.Running() {
			continue
		}
		client, err := c.NodeClient(n)
		if err != nil {
			return nil, err
		}
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		answer, err := client.GroupStatus(attempt, &nodev1.GroupStatusRequest{})
		cancel()
		if err != nil {
			return nil, fmt.Errorf("groups of %s: %w", n.Name, err)
		}
		nodes[answer.GetNodeId()] = client
		for _, replica := range answer.GetReplicas() {
			told[replica.GetGroupId()] = append(told[replica.GetGroupId()], replica)
			if placed(m, replica.GetGroupId(), answer.GetNodeId()) != replica.GetReplicaId() {
				return nil, fmt.Errorf("%s has replica %d of group %d, which the directory does not give to it", n.Name, replica.GetReplicaId(), replica.GetGroupId())
			}
		}
	}
	applied := map[uint64]uint64{}
	for _, group := range m.GetGroups() {
		if replicas := told[group.GetGroupId()]; len(replicas) > 0 {
			applied[group.GetGroupId()] = replicas[0].GetAppliedIndex()
		}
		for _, replica := range group.GetReplicas() {
			if nodes[replica.GetNodeId()] == nil {
				return nil, fmt.Errorf("group %d has a replica on node %s, which does not run", group.GetGroupId(), replica.GetNodeId())
			}
		}
		if err := groupAgrees(m, group, told[group.GetGroupId()]); err != nil {
			return nil, fmt.Errorf("group %d: %w", group.GetGroupId(), err)
		}
		if err := membersAgree(ctx, group, nodes[group.GetReplicas()[0].GetNodeId()]); err != nil {
			return nil, fmt.Errorf("group %d: %w", group.GetGroupId(), err)
		}
	}
	return applied, nil
}

// membersAgree compares the members that a group has with those of the directory.
func membersAgree(ctx context.Context, group *clusterv1.Group, client nodev1.NodeServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	answer, err := client.GroupMembership(ctx, &nodev1.GroupMembershipRequest{GroupId: group.GetGroupId()})
	if err != nil {
		return err
	}
	voters := map[uint64]string{}
	for _, replica := range group.GetReplicas() {
		voters[replica.GetReplicaId()] = replica.GetNodeId()
	}
	if members := answer.GetMembership(); !maps.Equal(members.GetVoters(), voters) || len(members.GetLearners()) > 0 {
		return fmt.Errorf("members are %v, the directory says %v", members, voters)
	}
	return nil
}

// placed is the replica of a group that the directory gives to a node, 0 for none.
func placed(m *clusterv1.RangeMap, groupID uint64, nodeID string) uint64 {
	for _, group := range m.GetGroups() {
		if group.GetGroupId() == groupID {
			return group.ReplicaOn(nodeID).GetReplicaId()
		}
	}
	return 0
}

func groupAgrees(m *clusterv1.RangeMap, group *clusterv1.Group, told []*nodev1.GroupReplica) error {
	if len(told) != len(group.GetReplicas()) {
		return fmt.Errorf("%d of %d replicas run", len(told), len(group.GetReplicas()))
	}
	var owned []*clusterv1.Range
	for _, r := range m.GetRanges() {
		if r.GetGroupId() == group.GetGroupId() {
			owned = append(owned, r)
		}
	}
	var faults []error
	for _, replica := range told {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("replica %d: "+format, append([]any{replica.GetReplicaId()}, args...)...))
		}
		if replica.GetError() != "" || replica.GetState() != nodev1.ReplicaState_REPLICA_STATE_RUNNING || !replica.GetInitialised() {
			fault("%s, initialised %v: %s", replica.GetState(), replica.GetInitialised(), replica.GetError())
		}
		if replica.GetLeaderReplicaId() == 0 || replica.GetLeaderReplicaId() != told[0].GetLeaderReplicaId() || replica.GetTerm() != told[0].GetTerm() {
			fault("leader %d of term %d, another one says %d of %d", replica.GetLeaderReplicaId(), replica.GetTerm(), told[0].GetLeaderReplicaId(), told[0].GetTerm())
		}
		if replica.GetAppliedIndex() != told[0].GetAppliedIndex() {
			fault("has applied %d, another one %d", replica.GetAppliedIndex(), told[0].GetAppliedIndex())
		}
		if group.GetGroupId() != clusterv1.DirectoryGroup && !sameRanges(replica.GetRanges(), owned) {
			fault("owns %v, the directory says %v", replica.GetRanges(), owned)
		}
	}
	return errors.Join(faults...)
}

func sameRanges(a, b []*clusterv1.Range) bool {
	if len(a) != len(b) {
		return false
	}
	byID := map[uint64]*clusterv1.Range{}
	for _, r := range a {
		byID[r.GetRangeId()] = r
	}
	for _, r := range b {
		if !proto.Equal(byID[r.GetRangeId()], r) {
			return false
		}
	}
	return true
}
