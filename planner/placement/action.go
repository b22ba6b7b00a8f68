package placement

import (
	"fmt"
	"strings"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// Kind tells actions apart.
type Kind uint8

// Changes of the directory's records.
const (
	// AddReplica gives the node a LEARNER of the group; the directory chooses its id.
	AddReplica Kind = iota + 1
	// SetRole changes the role of a replica.
	SetRole
	// RemoveReplica removes the record of a replica that is no member any more.
	RemoveReplica
	// ActivateGroup says that a new group has its identity.
	ActivateGroup
	// RemoveNode makes a node REMOVED.
	RemoveNode
)

// Changes of a Raft group, for which the node and ConfigID are given.
const (
	// RaftAddLearner makes the replica on the node a member that does not vote.
	RaftAddLearner Kind = iota + 20
	// RaftPromote makes it a voter.
	RaftPromote
	// RaftRemove takes it out for good.
	RaftRemove
	// TransferLeader asks the leader to hand over to the replica.
	TransferLeader
)

var kinds = map[Kind]string{
	AddReplica: "add replica", SetRole: "set role", RemoveReplica: "remove replica", ActivateGroup: "activate group", RemoveNode: "remove node",
	RaftAddLearner: "raft add learner", RaftPromote: "raft promote", RaftRemove: "raft remove", TransferLeader: "transfer leader",
}

// String is the kind in words.
func (k Kind) String() string {
	if words, ok := kinds[k]; ok {
		return words
	}
	return fmt.Sprintf("unknown kind %d", uint8(k))
}

// Raft tells whether the group's members change, not the directory.
func (k Kind) Raft() bool { return k == RaftAddLearner || k == RaftPromote || k == RaftRemove }

// Action is one step to take now. Fields that a kind does not need are zero.
type Action struct {
	Kind           Kind
	Group, Replica uint64
	// Id of the node that the replica is on.
	Node string
	// Membership that a Raft change was decided on. If there was another change since,
	// the step must be refused.
	ConfigID uint64
	// Of SetRole.
	Role clusterv1.ReplicaRole
	// For people.
	Reason string
}

// String prints the action with its reason.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(a.Kind.String())
	if a.Group != 0 {
		fmt.Fprintf(&b, ", group %d", a.Group)
	}
	if a.Replica != 0 {
		fmt.Fprintf(&b, ", replica %d", a.Replica)
	}
	if a.Node != "" {
		fmt.Fprintf(&b, ", node %s", a.Node)
	}
	if a.Role != 0 {
		fmt.Fprintf(&b, ", %s", roleName(a.Role))
	}
	fmt.Fprintf(&b, ": %s", a.Reason)
	return b.String()
}

func roleName(r clusterv1.ReplicaRole) string {
	return strings.TrimPrefix(r.String(), "REPLICA_ROLE_")
}

func stateName(s clusterv1.NodeState) string { return strings.TrimPrefix(s.String(), "NODE_STATE_") }
