package statemachine

import (
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// maxNodeID is that of a UUID, with room for the names that tests use.
const maxNodeID = 64

// registerNode makes a node known, or records what its new start says of it.
// The record is taken as it came, with fields of later releases, so that
// replicas of both hold the same.
func (c *directoryChange) registerNode(came *clusterv1.Node) (step, error) {
	id := came.GetNodeId()
	switch {
	case id == "" || len(id) > maxNodeID || came.GetRaftAddress() == "":
		return badChange("a node needs an id of at most 64 bytes and a Raft address")
	case !fits(id, came.GetRaftAddress(), came.GetApiAddress(), came.GetZone(), came.GetVersion()):
		return badChange("a node's texts must be UTF-8 of at most 1,024 bytes")
	}
	nodes, err := c.w.Nodes()
	if err != nil {
		return step{}, err
	}
	is, known := proto.CloneOf(came), false
	is.State, is.JoinedAt, is.StateReason, is.StateSince = clusterv1.NodeState_NODE_STATE_UP, c.now, c.why(), c.now
	present := 0
	for _, other := range nodes {
		if other.GetState() != clusterv1.NodeState_NODE_STATE_REMOVED {
			present++
		}
		if other.GetNodeId() != id {
			continue
		}
		known = true
		is.State, is.JoinedAt, is.StateReason, is.StateSince = other.GetState(), other.GetJoinedAt(), other.GetStateReason(), other.GetStateSince()
		if proto.Equal(is, other) && !other.Gone() {
			return step{}, nil
		}
		if refusal := restarted(other, came); refusal != nil {
			return step{refusal: refusal}, nil
		}
	}
	for _, other := range nodes {
		if other.GetNodeId() == id || other.Gone() {
			continue
		}
		if address := shared(other, came); address != "" {
			return refuse("address %s is that of node %s: give node %s another one, or if node %s is lost, declare it LOST", address, other.GetNodeId(), id, other.GetNodeId())
		}
	}
	switch format := c.cluster.FormatOrFirst(); {
	case !came.WorksWith(format):
		return refuse("the cluster uses data format %d, the node's build works with %d to %d: run a release that works with it",
			format, max(came.GetMinFormat(), clusterv1.FirstFormat), max(came.GetMaxFormat(), clusterv1.FirstFormat))
	case !known && (present >= maxNodes || len(nodes) >= maxNodeRecords):
		return refuse("the cluster has %d nodes, %d with those removed; it can have %d and %d: remove nodes first, or found another cluster", present, len(nodes), maxNodes, maxNodeRecords)
	}
	return step{apply: func() error { return c.w.PutNode(is) }}, nil
}

// restarted refuses what cannot be a later start of a known node.
func restarted(known, came *clusterv1.Node) *raftlogv1.Result {
	id := known.GetNodeId()
	switch {
	case known.Gone():
		return conflict("node %s is %s and is not let in again: start with an empty data directory, as a new node", id, stateName(known))
	case came.GetBoots() < known.GetBoots():
		return conflict("node %s has started %d times, this is its start %d: it runs elsewhere since, or this data directory is an old copy; stop this process, and if no other runs, start with an empty data directory", id, known.GetBoots(), came.GetBoots())
	case came.GetBoots() == known.GetBoots() && came.GetBoots() > 0 &&
		(came.GetRaftAddress() != known.GetRaftAddress() || came.GetApiAddress() != known.GetApiAddress()):
		return conflict("node %s runs at %s by its start %d, and from the same start at %s: the data directory was copied; stop one of them and start it with an empty data directory", id, known.GetRaftAddress(), known.GetBoots(), came.GetRaftAddress())
	}
	return nil
}

// shared returns an address that both nodes have, "" if there is none.
func shared(a, b *clusterv1.Node) string {
	switch {
	case a.GetRaftAddress() == b.GetRaftAddress():
		return a.GetRaftAddress()
	case a.GetApiAddress() == b.GetApiAddress():
		return a.GetApiAddress()
	}
	return ""
}

// setNodeState records what an operator wants of a node.
func (c *directoryChange) setNodeState(p *raftlogv1.SetNodeState) (step, error) {
	node, err := c.w.Node(p.GetNodeId())
	if err != nil {
		return step{}, err
	}
	if _, known := clusterv1.NodeState_name[int32(p.GetState())]; !known || p.GetState() == clusterv1.NodeState_NODE_STATE_UNSPECIFIED {
		return badChange("no such state of a node")
	}
	if node == nil {
		return refuse("there is no node %q", p.GetNodeId())
	}
	const (
		lost            = clusterv1.NodeState_NODE_STATE_LOST
		removed         = clusterv1.NodeState_NODE_STATE_REMOVED
		decommissioning = clusterv1.NodeState_NODE_STATE_DECOMMISSIONING
	)
	switch was := node.StateOrUp(); {
	case was == p.GetState():
		return step{}, nil
	case was == removed:
		return refuse("node %s is REMOVED for ever: start it with an empty data directory, as a new node", node.GetNodeId())
	case was == lost && p.GetState() != removed:
		return refuse("node %s is LOST, which is for ever: its replicas are made anew elsewhere; start it with an empty data directory, as a new node", node.GetNodeId())
	case p.GetState() == removed && was != decommissioning && was != lost:
		return refuse("node %s is %s: decommission it, or declare it LOST, and it is removed once no replica is left", node.GetNodeId(), stateName(node))
	}
	if p.GetState() == removed {
		groups, err := c.w.Groups()
		if err != nil {
			return step{}, err
		}
		for _, group := range groups {
			if group.ReplicaOn(node.GetNodeId()) != nil {
				return refuse("node %s still has a replica of group %d: wait until its replicas have moved", node.GetNodeId(), group.GetGroupId())
			}
		}
	}
	return step{apply: func() error {
		node.State, node.StateReason, node.StateSince = p.GetState(), c.why(), c.now
		return c.w.PutNode(node)
	}}, nil
}

func stateName(node *clusterv1.Node) string {
	switch node.StateOrUp() {
	case clusterv1.NodeState_NODE_STATE_UP:
		return "UP"
	case clusterv1.NodeState_NODE_STATE_DRAINING:
		return "DRAINING"
	case clusterv1.NodeState_NODE_STATE_DECOMMISSIONING:
		return "DECOMMISSIONING"
	case clusterv1.NodeState_NODE_STATE_LOST:
		return "LOST"
	}
	return "REMOVED"
}
