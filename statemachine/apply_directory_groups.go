package statemachine

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

const (
	voter   = clusterv1.ReplicaRole_REPLICA_ROLE_VOTER
	learner = clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER
	leaving = clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING
)

// createGroup makes an empty group with a voter on each node.
func (c *directoryChange) createGroup(p *raftlogv1.CreateGroup) (step, error) {
	if !c.repeatable() {
		return badChange(noRequestID)
	}
	ids := p.GetNodeIds()
	if distinct := slices.Compact(slices.Sorted(slices.Values(ids))); len(ids) == 0 || len(ids) > clusterv1.MaxReplicas || len(distinct) != len(ids) {
		return badChange(fmt.Sprintf("a group has 1 to %d replicas, on as many nodes", clusterv1.MaxReplicas))
	}
	groups, err := c.w.Groups()
	if err != nil {
		return step{}, err
	}
	for _, group := range groups {
		if bytes.Equal(group.GetRequestId(), c.requestID) {
			c.outcome.GroupId = group.GetGroupId()
			return step{}, nil
		}
	}
	if len(groups) >= maxGroups {
		return refuse("the cluster has %d groups and can have no more: split ranges within the groups that there are", len(groups))
	}
	for _, id := range ids {
		if refusal, err := c.takesReplicas(id); refusal != nil || err != nil {
			return step{refusal: refusal}, err
		}
	}
	return step{apply: func() error {
		group := &clusterv1.Group{
			GroupId: allocate(&c.cluster.NextGroupId), State: clusterv1.GroupState_GROUP_STATE_CREATING, RequestId: c.requestID,
		}
		for _, id := range ids {
			group.Replicas = append(group.Replicas, &clusterv1.Replica{ReplicaId: allocate(&c.cluster.NextReplicaId), NodeId: id, Role: voter})
		}
		group.Founders = group.Replicas
		c.outcome.GroupId = group.GetGroupId()
		return c.w.PutGroup(group)
	}}, nil
}

// takesReplicas refuses nodes that must not get replicas.
func (c *directoryChange) takesReplicas(id string) (*raftlogv1.Result, error) {
	node, err := c.w.Node(id)
	if err != nil {
		return nil, err
	}
	if node == nil {
		return conflict("there is no node %q", id), nil
	}
	if node.StateOrUp() != clusterv1.NodeState_NODE_STATE_UP {
		return conflict("node %s is %s and gets no new replica: choose a node that is UP", id, stateName(node)), nil
	}
	return nil, nil
}

// group reads a group to change it. A group of the first releases gets its
// founders recorded with its first change: they are the replicas that it has.
func (c *directoryChange) group(id uint64) (*clusterv1.Group, error) {
	group, err := c.w.Group(id)
	if group == nil || len(group.GetFounders()) > 0 {
		return group, err
	}
	for _, replica := range group.GetReplicas() {
		group.Founders = append(group.Founders, proto.CloneOf(replica))
	}
	return group, err
}

func (c *directoryChange) activateGroup(p *raftlogv1.ActivateGroup) (step, error) {
	group, err := c.group(p.GetGroupId())
	switch {
	case err != nil:
		return step{}, err
	case group == nil:
		return refuse("there is no group %d", p.GetGroupId())
	case group.GetState() == clusterv1.GroupState_GROUP_STATE_ACTIVE:
		return step{}, nil
	}
	return step{apply: func() error {
		group.State = clusterv1.GroupState_GROUP_STATE_ACTIVE
		return c.w.PutGroup(group)
	}}, nil
}

// addReplica gives a node a learner of a group.
func (c *directoryChange) addReplica(p *raftlogv1.AddReplica) (step, error) {
	group, err := c.group(p.GetGroupId())
	if err != nil {
		return step{}, err
	}
	if group == nil {
		return refuse("there is no group %d", p.GetGroupId())
	}
	if there := group.ReplicaOn(p.GetNodeId()); there != nil {
		if there.GetRole() == leaving {
			return refuse("replica %d of group %d is leaving node %s: wait until it has left", there.GetReplicaId(), group.GetGroupId(), p.GetNodeId())
		}
		c.outcome.GroupId, c.outcome.ReplicaId = group.GetGroupId(), there.GetReplicaId()
		return step{}, nil
	}
	if refusal, err := c.takesReplicas(p.GetNodeId()); refusal != nil || err != nil {
		return step{refusal: refusal}, err
	}
	if n := len(group.GetReplicas()); n >= clusterv1.MaxReplicas {
		return refuse("group %d has %d replicas and can have no more: remove one first", group.GetGroupId(), n)
	}
	return step{apply: func() error {
		replica := &clusterv1.Replica{ReplicaId: allocate(&c.cluster.NextReplicaId), NodeId: p.GetNodeId(), Role: learner}
		group.Replicas = append(group.Replicas, replica)
		c.outcome.GroupId, c.outcome.ReplicaId = group.GetGroupId(), replica.GetReplicaId()
		return c.w.PutGroup(group)
	}}, nil
}

// setReplicaRole leads a replica on: a learner becomes a voter, and either of
// them leaves.
func (c *directoryChange) setReplicaRole(p *raftlogv1.SetReplicaRole) (step, error) {
	if role := p.GetRole(); role != voter && role != learner && role != leaving {
		return badChange("no such role of a replica")
	}
	group, err := c.group(p.GetGroupId())
	if err != nil {
		return step{}, err
	}
	if group == nil {
		return refuse("there is no group %d", p.GetGroupId())
	}
	replica := group.Replica(p.GetReplicaId())
	switch {
	case replica == nil:
		return refuse("group %d has no replica %d", p.GetGroupId(), p.GetReplicaId())
	case replica.GetRole() == p.GetRole():
		return step{}, nil
	case replica.GetRole() == leaving:
		return refuse("replica %d is leaving group %d, which cannot be undone: add a new one once it has left", p.GetReplicaId(), p.GetGroupId())
	case p.GetRole() == learner:
		return refuse("replica %d of group %d is a voter and cannot become a learner: let it leave, and add a new one", p.GetReplicaId(), p.GetGroupId())
	case p.GetRole() == leaving && replica.GetRole() == voter && len(group.Voters()) == 1:
		return refuse("replica %d is the last voter of group %d: make another one a voter first", p.GetReplicaId(), p.GetGroupId())
	}
	return step{apply: func() error {
		replica.Role = p.GetRole()
		return c.w.PutGroup(group)
	}}, nil
}

// removeReplica forgets a replica that has left.
func (c *directoryChange) removeReplica(p *raftlogv1.RemoveReplica) (step, error) {
	group, err := c.group(p.GetGroupId())
	if err != nil {
		return step{}, err
	}
	if group == nil {
		return refuse("there is no group %d", p.GetGroupId())
	}
	elsewhere, err := c.groupOf(p.GetReplicaId())
	if err != nil {
		return step{}, err
	}
	switch replica := group.Replica(p.GetReplicaId()); {
	case replica == nil && elsewhere != 0:
		return refuse("replica %d is one of group %d, not of group %d", p.GetReplicaId(), elsewhere, p.GetGroupId())
	case replica == nil && p.GetReplicaId() > 0 && p.GetReplicaId() < c.cluster.GetNextReplicaId():
		return step{}, nil
	case replica == nil:
		return refuse("there never was a replica %d", p.GetReplicaId())
	case replica.GetRole() != leaving:
		return refuse("replica %d is a member of group %d: let it leave first", p.GetReplicaId(), p.GetGroupId())
	}
	return step{apply: func() error {
		group.Replicas = slices.DeleteFunc(group.Replicas, func(r *clusterv1.Replica) bool { return r.GetReplicaId() == p.GetReplicaId() })
		return c.w.PutGroup(group)
	}}, nil
}

// groupOf finds the group that has a replica, 0 for none.
func (c *directoryChange) groupOf(replica uint64) (uint64, error) {
	groups, err := c.w.Groups()
	if err != nil {
		return 0, err
	}
	for _, group := range groups {
		if group.Replica(replica) != nil {
			return group.GetGroupId(), nil
		}
	}
	return 0, nil
}
