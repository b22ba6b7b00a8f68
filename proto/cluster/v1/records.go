package clusterv1

import (
	"math"
	"slices"
	"time"
)

// MaxReplicas bounds the replicas of a group, those that come and go included.
const MaxReplicas = 9

// StateOrUp returns what is wanted of the node: records of the first releases
// do not say, and mean UP.
func (n *Node) StateOrUp() NodeState {
	if state := n.GetState(); state != NodeState_NODE_STATE_UNSPECIFIED {
		return state
	}
	return NodeState_NODE_STATE_UP
}

// Gone tells whether the node never comes back: it is LOST or REMOVED.
func (n *Node) Gone() bool {
	return n.GetState() == NodeState_NODE_STATE_LOST || n.GetState() == NodeState_NODE_STATE_REMOVED
}

// Newer returns the one of two records of a node that has the younger
// addresses; a if they are of the same start. Either may be nil.
func Newer(a, b *Node) *Node {
	if a == nil || b != nil && b.GetBoots() > a.GetBoots() {
		return b
	}
	return a
}

// Voters returns the replicas that vote, in order of their ids.
func (g *Group) Voters() []*Replica {
	var voters []*Replica
	for _, replica := range g.GetReplicas() {
		if replica.GetRole() == ReplicaRole_REPLICA_ROLE_VOTER {
			voters = append(voters, replica)
		}
	}
	return voters
}

// ReplicaOn returns the group's replica on a node, nil if it has none there.
func (g *Group) ReplicaOn(nodeID string) *Replica {
	return g.find(func(r *Replica) bool { return r.GetNodeId() == nodeID })
}

// Replica returns a replica by its id, nil if the group does not have it.
func (g *Group) Replica(id uint64) *Replica {
	return g.find(func(r *Replica) bool { return r.GetReplicaId() == id })
}

func (g *Group) find(is func(*Replica) bool) *Replica {
	if i := slices.IndexFunc(g.GetReplicas(), is); i >= 0 {
		return g.GetReplicas()[i]
	}
	return nil
}

// FoundersOrReplicas returns the members that the group began with. Groups of
// the first releases do not record them; until their replicas first change,
// those are the founders.
func (g *Group) FoundersOrReplicas() []*Replica {
	if len(g.GetFounders()) > 0 {
		return g.GetFounders()
	}
	return g.GetReplicas()
}

const (
	defaultReplicationFactor = 3
	defaultDirectoryReplicas = 5
	defaultRepairAfter       = 5 * time.Minute
)

// ReplicationFactorOrDefault returns how many voters a data group should have.
func (s *Settings) ReplicationFactorOrDefault() int {
	if n := s.GetReplicationFactor(); n > 0 {
		return int(n)
	}
	return defaultReplicationFactor
}

// DirectoryReplicasOrDefault returns how many voters the directory should have.
func (s *Settings) DirectoryReplicasOrDefault() int {
	if n := s.GetDirectoryReplicas(); n > 0 {
		return int(n)
	}
	return defaultDirectoryReplicas
}

// RepairAfterOrDefault returns how long a node may be silent before its replicas
// are made anew elsewhere: never is the longest duration.
func (s *Settings) RepairAfterOrDefault() time.Duration {
	switch after := s.GetRepairAfter(); {
	case after < 0:
		return math.MaxInt64
	case after > 0:
		return time.Duration(after)
	}
	return defaultRepairAfter
}
