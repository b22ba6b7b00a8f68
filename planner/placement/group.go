package placement

import (
	"fmt"
	"maps"
	"slices"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// group is one Raft group: what the map wants and what the reports say.
type group struct {
	id    uint64
	state clusterv1.GroupState
	// In order of their ids.
	rows []*replica
	// By id; those without a row, too.
	replicas map[uint64]*replica
	// The youngest that was reported; nil if none was.
	members *nodev1.Membership
	// As reported with the highest term; 0 if unknown.
	leader uint64
	// Has its identity.
	initialised bool
	streams     bool
	// Voters wanted, nodes permitting.
	factor int
}

// replica is one replica, from its row, its membership and its report.
type replica struct {
	id uint64
	// Nil if the map knows no node of the id.
	node   *node
	nodeID string
	// Unspecified without a row.
	role           clusterv1.ReplicaRole
	voter, learner bool
	removed        bool
	// Nil if its node never reported it.
	report *nodev1.GroupReplica
}

const (
	voterRole   = clusterv1.ReplicaRole_REPLICA_ROLE_VOTER
	learnerRole = clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER
	leavingRole = clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING
)

func (r *replica) member() bool { return r.voter || r.learner }

// alive replicas run. One that its node has yet to start is not: it would count as
// caught up in a young group, and be given a vote that it cannot cast.
func (r *replica) alive() bool {
	return r.node != nil && r.node.alive && r.report.GetState() == nodev1.ReplicaState_REPLICA_STATE_RUNNING
}

func (r *replica) failed() bool {
	return r.node != nil && r.node.alive && r.report.GetState() == nodev1.ReplicaState_REPLICA_STATE_FAILED
}

// gone: an operator wants no replica on its node.
func (r *replica) gone() bool { return r.node == nil || r.node.gone() }

// broken: it will not come back by itself.
func (r *replica) broken() bool { return r.node != nil && r.node.dead || r.failed() }

// trouble says why the replica must be replaced; empty if it stays.
func (r *replica) trouble() string {
	switch {
	case r.node == nil:
		return fmt.Sprintf("node %s is unknown", r.nodeID)
	case r.node.trouble() != "":
		return r.node.trouble()
	case r.failed():
		return fmt.Sprintf("replica %d cannot be started on node %s", r.id, r.nodeID)
	}
	return ""
}

func newGroup(row *clusterv1.Group, nodes map[string]*node, reports map[uint64]*nodev1.GroupReplica, settings *clusterv1.Settings) *group {
	g := &group{id: row.GetGroupId(), state: row.GetState(), replicas: map[uint64]*replica{}, factor: Factor(settings, row.GetGroupId())}
	g.readReports(reports, nodes)
	for _, r := range row.GetReplicas() {
		at := g.replica(r.GetReplicaId(), r.GetNodeId(), nodes)
		at.role = r.GetRole()
		g.rows = append(g.rows, at)
	}
	slices.SortFunc(g.rows, func(a, b *replica) int { return compare(a.id, b.id) })
	for id, on := range g.members.GetVoters() {
		g.replica(id, on, nodes).voter = true
	}
	for id, on := range g.members.GetLearners() {
		g.replica(id, on, nodes).learner = true
	}
	for _, id := range g.members.GetRemoved() {
		if r := g.replicas[id]; r != nil {
			r.removed = true
		}
	}
	for id, r := range g.replicas {
		r.report = reports[id]
		g.initialised = g.initialised || r.report.GetInitialised()
	}
	return g
}

func (g *group) replica(id uint64, on string, nodes map[string]*node) *replica {
	if r := g.replicas[id]; r != nil {
		return r
	}
	r := &replica{id: id, nodeID: on, node: nodes[on]}
	g.replicas[id] = r
	return r
}

// readReports finds the youngest membership and leader. A membership that somebody
// has applied is committed, whoever it is and however long ago it was.
func (g *group) readReports(reports map[uint64]*nodev1.GroupReplica, nodes map[string]*node) {
	term := uint64(0)
	for _, id := range slices.Sorted(maps.Keys(reports)) {
		r := reports[id]
		if m := r.GetMembership(); len(m.GetVoters()) > 0 && (g.members == nil || m.GetConfigId() > g.members.GetConfigId()) {
			g.members = m
		}
		// Of one term there is one leader.
		if r.GetLeaderReplicaId() != 0 && r.GetTerm() >= term {
			term, g.leader = r.GetTerm(), r.GetLeaderReplicaId()
		}
	}
}

// voters are the members that vote, in order of their ids.
func (g *group) voters() []*replica {
	var out []*replica
	for _, id := range slices.Sorted(maps.Keys(g.members.GetVoters())) {
		out = append(out, g.replicas[id])
	}
	return out
}

// count is how many voters there are, and how many of them live.
func (g *group) count() (voters, alive int) {
	for id := range g.members.GetVoters() {
		voters++
		if g.replicas[id].alive() {
			alive++
		}
	}
	return voters, alive
}

func quorum(voters int) int { return voters/2 + 1 }

// slack is how many voters may still fail; negative without a quorum.
func slack(voters, alive int) int { return alive - quorum(voters) }

// slackWithout is what the slack would be without a voter.
func (g *group) slackWithout(r *replica) int {
	voters, alive := g.count()
	if r.alive() {
		alive--
	}
	return slack(voters-1, alive)
}

// leading is the leader, if it reports itself as such; nil otherwise.
func (g *group) leading() *replica {
	r := g.replicas[g.leader]
	if r == nil || !r.alive() || r.report.GetLeaderReplicaId() != r.id {
		return nil
	}
	return r
}

// caughtUp tells whether a replica is near its leader in the log.
func (g *group) caughtUp(r *replica, gap uint64) bool {
	leader := g.leading()
	return leader != nil && r.alive() && r.report.GetAppliedIndex()+gap >= leader.report.GetAppliedIndex()
}

// kept are the rows that stay: not LEAVING, on nodes that keep what they have.
func (g *group) kept() []*replica {
	var out []*replica
	for _, r := range g.rows {
		if r.role != leavingRole && !r.gone() && !r.broken() {
			out = append(out, r)
		}
	}
	return out
}

func (g *group) rowOn(id string) *replica {
	for _, r := range g.rows {
		if r.nodeID == id {
			return r
		}
	}
	return nil
}

// occupied tells whether a node has, or is to have, a replica of the group.
func (g *group) occupied(id string) bool {
	for _, r := range g.replicas {
		if r.nodeID == id && (r.role != 0 || r.member()) {
			return true
		}
	}
	return false
}
