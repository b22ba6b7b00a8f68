package placement

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// step continues what was begun in a group: the map and the members are brought
// together again.
func (w *world) step(g *group) {
	if g.state == clusterv1.GroupState_GROUP_STATE_CREATING {
		if g.initialised {
			w.act(Action{Kind: ActivateGroup, Group: g.id}, "it has its identity")
		}
		// Its founders must meet first.
		w.busy[g.id] = true
		return
	}
	if g.members == nil {
		w.busy[g.id] = true
		w.note("group %d: no node has told its members", g.id)
		return
	}
	if w.correctRows(g) {
		return
	}
	if voters, alive := g.count(); alive < quorum(voters) {
		w.busy[g.id] = true
		if w.settled {
			w.note("group %d has lost its quorum: %d of %d voters alive; %s", g.id, alive, voters, g.missing())
		}
		return
	}
	_ = w.expelStrangers(g) || w.finishLeaving(g) || w.advanceLearners(g)
}

// missing names the voters that do not answer.
func (g *group) missing() string {
	var out []string
	for _, r := range g.voters() {
		if !r.alive() {
			out = append(out, r.nodeID)
		}
	}
	return "missing: " + strings.Join(out, ", ")
}

// correctRows takes over in the map what is certain about the members.
func (w *world) correctRows(g *group) bool {
	for _, r := range g.rows {
		switch {
		case r.role == leavingRole && !r.member():
			w.act(Action{Kind: RemoveReplica, Group: g.id, Replica: r.id, Node: r.nodeID}, "it is no member any more")
		case r.role == learnerRole && r.voter:
			w.setRole(g, r, voterRole, "it votes")
		case r.removed && r.role == learnerRole, r.removed && r.role == voterRole && g.otherVoterRow(r):
			w.setRole(g, r, leavingRole, "it was removed from the group")
		case !r.member() && r.role == voterRole && r.trouble() != "" && g.otherVoterRow(r):
			w.setRole(g, r, leavingRole, "it is no member, and %s", r.trouble())
		case !r.voter && r.role == learnerRole && w.hopeless(r):
			w.setRole(g, r, leavingRole, "it has not caught up, and %s", w.hopelessness(r))
		default:
			continue
		}
		return true
	}
	return false
}

// otherVoterRow: the directory keeps one.
func (g *group) otherVoterRow(r *replica) bool {
	return slices.ContainsFunc(g.rows, func(o *replica) bool { return o != r && o.role == voterRole })
}

func (w *world) hopeless(r *replica) bool { return w.hopelessness(r) != "" }

// hopelessness says why a learner is given up. One that cannot be started stays
// until there is another, or the choice would fall on its node again.
func (w *world) hopelessness(r *replica) string {
	switch {
	case r.node == nil || r.node.trouble() != "":
		return r.trouble()
	case !r.node.alive && r.node.silent >= w.c.LearnerSilence:
		return "node " + r.nodeID + " is silent for " + rounded(r.node.silent).String()
	}
	return ""
}

// expelStrangers removes members that the map does not know any more.
func (w *world) expelStrangers(g *group) bool {
	for _, id := range slices.Sorted(maps.Keys(g.replicas)) {
		r := g.replicas[id]
		if r.role != 0 || !r.member() {
			continue
		}
		if id >= w.Map.GetCluster().GetNextReplicaId() {
			w.busy[g.id] = true
			w.note("group %d: replica %d is a member, but its id was never given out: left alone", g.id, id)
			return true
		}
		if w.expel(g, r, "the directory does not know it any more") {
			return true
		}
	}
	return false
}

// finishLeaving removes LEAVING members.
func (w *world) finishLeaving(g *group) bool {
	for _, r := range g.rows {
		if r.role == leavingRole && r.member() && w.expel(g, r, "it is LEAVING") {
			return true
		}
	}
	return false
}

// expel removes a member, after it has handed over the lead; false if that must wait.
func (w *world) expel(g *group, r *replica, why string) bool {
	if !r.voter {
		w.raft(RaftRemove, g, r, "%s", why)
		return true
	}
	voters, alive := g.count()
	switch {
	case voters == 1:
		w.note("group %d: replica %d on node %s must go, but is the only voter", g.id, r.id, r.nodeID)
		return false
	case g.slackWithout(r) < 0:
		w.note("group %d: replica %d on node %s must go, but %d of %d voters are alive and the rest would have no quorum; %s",
			g.id, r.id, r.nodeID, alive, voters, g.missing())
		return false
	}
	if g.leader == r.id && r.alive() {
		to := w.heir(g, r)
		if to == nil {
			w.note("group %d: replica %d on node %s must go, but leads and nobody has caught up to take over", g.id, r.id, r.nodeID)
			return false
		}
		w.transfer(g, to, "replica %d on node %s leads and is to go", r.id, r.nodeID)
		return true
	}
	w.raft(RaftRemove, g, r, "%s", why)
	return true
}

// advanceLearners makes replicas members, and voters once they have caught up.
func (w *world) advanceLearners(g *group) bool {
	ready := 0
	for _, r := range g.rows {
		if r.role == learnerRole && r.learner && g.caughtUp(r, w.c.GapMax) {
			ready++
		}
	}
	for _, r := range g.rows {
		if r.voter || r.role == leavingRole || r.removed || r.trouble() != "" || w.surplus(g) == r {
			continue
		}
		switch {
		case !r.node.alive:
			w.note("group %d: replica %d waits for node %s, which is silent for %v", g.id, r.id, r.nodeID, rounded(r.node.silent))
		case !r.learner:
			w.raft(RaftAddLearner, g, r, "it is to receive the log")
			return true
		case !g.caughtUp(r, w.c.GapMax):
			w.note("group %d: replica %d on node %s catches up: %s", g.id, r.id, r.nodeID, g.behind(r))
		case r.role == learnerRole && ready == 1 && w.awaitsPair(g):
			w.note("group %d: replica %d on node %s has caught up and waits for another one: an even number of voters survives no more failures",
				g.id, r.id, r.nodeID)
		default:
			w.raft(RaftPromote, g, r, "it has caught up")
			return true
		}
	}
	return false
}

// awaitsPair: a group that grows goes from one odd number of voters to the next.
func (w *world) awaitsPair(g *group) bool {
	voters, _ := g.count()
	if voters%2 == 0 || w.goal(g, false) < voters+2 {
		return false
	}
	return !slices.ContainsFunc(g.voters(), func(r *replica) bool { return r.role == leavingRole || r.trouble() != "" })
}

// behind says what a replica lacks.
func (g *group) behind(r *replica) string {
	leader := g.leading()
	switch {
	case leader == nil:
		return "the group's leader is not known"
	case !r.alive():
		return "it has not started"
	}
	return fmt.Sprintf("%d entries to go", leader.report.GetAppliedIndex()-min(r.report.GetAppliedIndex(), leader.report.GetAppliedIndex()))
}
