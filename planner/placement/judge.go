package placement

import (
	"slices"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Judgement is a picture as a plan sees it, for those who describe it.
type Judgement struct {
	// Sorted by id.
	Nodes  []NodeHealth
	Groups []GroupHealth
	// Everybody had time to report.
	Settled bool
}

// NodeHealth is what a plan thinks of a node.
type NodeHealth struct {
	ID    string
	State clusterv1.NodeState
	// Alive: heard of lately. Dead: silent for so long that it is replaced.
	Alive, Dead bool
	// Since the last report, or since the controller began.
	Silent time.Duration
	// May be given replicas and leaders.
	Eligible bool
	// Replicas that stay there, and the weight of the groups that are led there.
	Replicas, Leaders int
	// The last report; nil for none.
	Report *nodev1.NodeReport
}

// GroupHealth is what a plan thinks of a group.
type GroupHealth struct {
	ID       uint64
	Creating bool
	// Voters wanted, and those that the nodes allow.
	Factor, Goal int
	// No report tells the members; Replicas then are those of the map.
	MembersUnknown bool
	// Voters, of them alive, and how many must be.
	Voters, Alive, Quorum int
	// The replica that reports to lead; 0 if none does.
	Leader uint64
	// In order of their ids: rows of the map and members.
	Replicas []ReplicaHealth
	// Voters could be in more zones than they are.
	Crowded bool
}

// ReplicaHealth is what a plan thinks of a replica.
type ReplicaHealth struct {
	ID    uint64
	Node  string
	Role  clusterv1.ReplicaRole
	Voter bool
	// Answers, and is near its leader in the log.
	Alive, CaughtUp bool
	// Entries behind the leader.
	Behind uint64
	// Nil if there is none.
	Report *nodev1.GroupReplica
}

// Judge works a picture out without planning anything.
func Judge(p Picture, c Config) Judgement {
	w := newWorld(p, c)
	if w == nil {
		return Judgement{}
	}
	j := Judgement{Settled: w.settled}
	for _, n := range w.nodes {
		j.Nodes = append(j.Nodes, NodeHealth{
			ID: n.id, State: n.state, Alive: n.alive, Dead: n.dead, Silent: n.silent, Eligible: n.eligible(),
			Replicas: n.load, Leaders: n.leads, Report: n.report,
		})
	}
	for _, g := range w.groups {
		j.Groups = append(j.Groups, w.judge(g))
	}
	return j
}

func (w *world) judge(g *group) GroupHealth {
	h := GroupHealth{
		ID: g.id, Creating: g.state == clusterv1.GroupState_GROUP_STATE_CREATING, Factor: g.factor, Goal: w.goal(g, false),
		MembersUnknown: g.members == nil,
	}
	leader := g.leading()
	if leader != nil {
		h.Leader = leader.id
	}
	for _, r := range g.replicas {
		behind := uint64(0)
		if at := leader; at != nil && r.alive() {
			behind = at.report.GetAppliedIndex() - min(at.report.GetAppliedIndex(), r.report.GetAppliedIndex())
		}
		votes := r.voter || g.members == nil && r.role == voterRole
		h.Replicas = append(h.Replicas, ReplicaHealth{
			ID: r.id, Node: r.nodeID, Role: r.role, Voter: votes, Alive: r.alive(),
			CaughtUp: g.caughtUp(r, w.c.GapMax), Behind: behind, Report: r.report,
		})
		h.Voters += yes(votes)
		h.Alive += yes(votes && r.alive())
	}
	slices.SortFunc(h.Replicas, func(a, b ReplicaHealth) int { return compare(a.ID, b.ID) })
	h.Quorum = quorum(h.Voters)
	h.Crowded = w.crowded(g)
	return h
}

// crowded: a node in an emptier zone could take over from one in the fullest.
func (w *world) crowded(g *group) bool {
	kept := g.kept()
	if len(kept) == 0 {
		return false
	}
	in := zones(kept)
	fullest := in[g.worst(kept).node.zone]
	return slices.ContainsFunc(w.nodes, func(n *node) bool { return n.eligible() && !g.occupied(n.id) && in[n.zone]+1 < fullest })
}
