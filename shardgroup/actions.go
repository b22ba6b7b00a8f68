package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// act takes one step of a plan that was made at a map version. It returns the
// version after it.
func (c *controller) act(ctx context.Context, picture placement.Picture, a placement.Action, version uint64) (uint64, error) {
	if change := directoryChange(a); change != nil {
		change.ExpectedMapVersion, change.Actor, change.Reason = version, "controller", a.Reason
		outcome, _, err := c.node.changeDirectory(ctx, newRequestID(), change)
		if err != nil {
			return version, err
		}
		return outcome.GetMapVersion(), nil
	}
	leader := leaderOf(picture, a.Group)
	if leader == "" {
		return version, fmt.Errorf("%w: group %d has no leader", ErrNotReady, a.Group)
	}
	client, err := c.client(leader)
	if err != nil {
		return version, err
	}
	if a.Kind == placement.TransferLeader {
		_, err := client.TransferLeader(ctx, &nodev1.TransferLeaderRequest{GroupId: a.Group, ReplicaId: a.Replica})
		if err == nil {
			c.mu.Lock()
			c.transfers[a.Group] = transfer{time.Now(), leader}
			c.mu.Unlock()
		}
		return version, err
	}
	request := &nodev1.ChangeMembershipRequest{GroupId: a.Group, ReplicaId: a.Replica, NodeId: a.Node, ConfigId: a.ConfigID}
	switch a.Kind {
	case placement.RaftAddLearner:
		request.Change = nodev1.ChangeMembershipRequest_CHANGE_ADD_LEARNER
	case placement.RaftPromote:
		request.Change = nodev1.ChangeMembershipRequest_CHANGE_ADD_VOTER
	case placement.RaftRemove:
		request.Change = nodev1.ChangeMembershipRequest_CHANGE_REMOVE
	default:
		return version, fmt.Errorf("unknown action %s", a)
	}
	_, err = client.ChangeMembership(ctx, request)
	// Whatever came of it, the next plan must stand on what is there now.
	return version, errors.Join(err, c.refresh(ctx, client, leader, a.Group))
}

// directoryChange is the action as a change of the directory, nil if it is none.
func directoryChange(a placement.Action) *raftlogv1.DirectoryChange {
	switch a.Kind {
	case placement.AddReplica:
		return &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_AddReplica{
			AddReplica: &raftlogv1.AddReplica{GroupId: a.Group, NodeId: a.Node}}}
	case placement.SetRole:
		return &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_SetReplicaRole{
			SetReplicaRole: &raftlogv1.SetReplicaRole{GroupId: a.Group, ReplicaId: a.Replica, Role: a.Role}}}
	case placement.RemoveReplica:
		return &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_RemoveReplica{
			RemoveReplica: &raftlogv1.RemoveReplica{GroupId: a.Group, ReplicaId: a.Replica}}}
	case placement.ActivateGroup:
		return &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_ActivateGroup{
			ActivateGroup: &raftlogv1.ActivateGroup{GroupId: a.Group}}}
	case placement.RemoveNode:
		return &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_SetNodeState{
			SetNodeState: &raftlogv1.SetNodeState{NodeId: a.Node, State: clusterv1.NodeState_NODE_STATE_REMOVED}}}
	default:
		return nil
	}
}

// client returns the client of any node, this one included.
func (c *controller) client(nodeID string) (localOrPeer, error) {
	if nodeID == c.node.record.GetNodeId() {
		return service{node: c.node}, nil
	}
	return c.node.groupPeer(nodeID)
}

// refresh reads a group's membership, so that the next plan need not wait for
// its leader's report.
func (c *controller) refresh(ctx context.Context, client localOrPeer, leader string, groupID uint64) error {
	answer, err := client.GroupMembership(ctx, &nodev1.GroupMembershipRequest{GroupId: groupID})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	view, ok := c.views[leader]
	if !ok {
		return nil
	}
	report := proto.CloneOf(view.Report)
	for _, replica := range report.GetReplicas() {
		if replica.GetGroupId() == groupID {
			replica.Membership = answer.GetMembership()
		}
	}
	view.Report = report
	c.views[leader] = view
	return nil
}

// leaderOf returns the node that leads a group: of those that say so the one of
// the highest term.
func leaderOf(p placement.Picture, groupID uint64) string {
	leader, term := "", uint64(0)
	for id, view := range p.Nodes {
		for _, replica := range view.Report.GetReplicas() {
			if replica.GetGroupId() == groupID && replica.GetLeaderReplicaId() == replica.GetReplicaId() && replica.GetTerm() >= term && replica.GetReplicaId() != 0 {
				leader, term = id, replica.GetTerm()
			}
		}
	}
	return leader
}

// runOperation brings an operation to its end: the group replaces its ranges,
// then the directory follows. Each step may be repeated. It returns nil if the
// operation ended.
func (c *controller) runOperation(ctx context.Context, operation *clusterv1.Operation) error {
	picture, _, err := c.picture()
	if err != nil {
		return err
	}
	leader := leaderOf(picture, operation.GetGroupId())
	if leader == "" {
		return fmt.Errorf("%w: group %d has no leader", ErrNotReady, operation.GetGroupId())
	}
	client, err := c.client(leader)
	if err != nil {
		return err
	}
	answer, err := client.ReplaceRanges(ctx, &nodev1.ReplaceRangesRequest{GroupId: operation.GetGroupId(), Ranges: &raftlogv1.ReplaceRanges{
		OperationId: operation.GetOperationId(), Before: operation.GetBefore(), After: operation.GetAfter(),
	}})
	if err != nil {
		return fmt.Errorf("group %d: %w", operation.GetGroupId(), err) // it may have been done: the same again
	}
	_, _, err = c.node.changeDirectory(ctx, newRequestID(), &raftlogv1.DirectoryChange{
		Actor: "controller", Change: &raftlogv1.DirectoryChange_FinishOperation{
			FinishOperation: &raftlogv1.FinishOperation{OperationId: operation.GetOperationId(), Error: answer.GetRefusal()},
		},
	})
	return err
}
