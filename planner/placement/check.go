package placement

import (
	"fmt"
	"slices"
	"strings"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// Verdict is what becomes of an operator's wish.
type Verdict struct {
	// What will happen, in order.
	Steps []string
	// Why it is unwise: to be refused unless forced.
	Obstacles []string
	// Why it cannot be.
	Impossible []string
}

// Check says whether a change of a node's state is wise, and what follows from it.
func Check(p Picture, c Config, id string, to clusterv1.NodeState) Verdict {
	v := &verdict{to: to}
	w := newWorld(p, c)
	if w == nil {
		v.impossible("there is no map yet")
		return v.Verdict
	}
	n := w.byID[id]
	if n == nil {
		v.impossible("there is no node %s", id)
		return v.Verdict
	}
	if v.transition(n); len(v.Impossible) > 0 || n.state == to {
		return v.Verdict
	}
	switch to {
	case clusterv1.NodeState_NODE_STATE_UP:
		v.step("it is given leaders and replicas again; those that have left do not come back at once")
	case clusterv1.NodeState_NODE_STATE_DRAINING:
		v.drain(w, n)
	default:
		v.retire(w, newWorld(withState(p, id, to), c), n)
	}
	if len(v.Impossible) > 0 {
		v.Steps = nil
	}
	return v.Verdict
}

type verdict struct {
	Verdict
	to clusterv1.NodeState
}

func (v *verdict) step(format string, args ...any) {
	v.Steps = append(v.Steps, fmt.Sprintf(format, args...))
}

func (v *verdict) obstacle(format string, args ...any) {
	v.Obstacles = append(v.Obstacles, fmt.Sprintf(format, args...))
}

func (v *verdict) impossible(format string, args ...any) {
	v.Impossible = append(v.Impossible, fmt.Sprintf(format, args...))
}

// transition checks the states alone.
func (v *verdict) transition(n *node) {
	switch {
	case n.state == v.to:
		v.step("node %s is %s already", n.id, stateName(n.state))
	case n.state == clusterv1.NodeState_NODE_STATE_REMOVED:
		v.impossible("node %s is REMOVED and stays so: start a new node with an empty data directory", n.id)
	case v.to == clusterv1.NodeState_NODE_STATE_REMOVED:
		v.impossible("a node is REMOVED once it has no replicas: decommission it, or replace it if it is lost")
	case n.state == clusterv1.NodeState_NODE_STATE_LOST:
		v.impossible("node %s was given up as LOST: others may have taken its place", n.id)
	case v.to == clusterv1.NodeState_NODE_STATE_UNSPECIFIED:
		v.impossible("no state is given")
	}
}

// withState is the picture with a node in another state.
func withState(p Picture, id string, to clusterv1.NodeState) Picture {
	nodes := slices.Clone(p.Map.GetNodes())
	for i, row := range nodes {
		if row.GetNodeId() == id {
			nodes[i] = &clusterv1.Node{NodeId: id, State: to, Zone: row.GetZone()}
		}
	}
	p.Map = &clusterv1.RangeMap{Cluster: p.Map.GetCluster(), Nodes: nodes, Groups: p.Map.GetGroups(), Ranges: p.Map.GetRanges()}
	return p
}

// drain: leaders must find another place, and the groups live on while it is down.
func (v *verdict) drain(w *world, n *node) {
	leads := 0
	var single, stuck, unknown []uint64
	var reasons []string // why groups would have no quorum, each once
	without := map[string][]uint64{}
	for _, g := range w.groups {
		r := g.rowOn(n.id)
		if r == nil {
			continue
		}
		if voters, _ := g.count(); r.voter && voters == 1 {
			single = append(single, g.id)
			continue
		}
		if g.leading() == r {
			leads++
			if w.heir(g, r) == nil {
				stuck = append(stuck, g.id)
			}
		}
		if g.members == nil {
			unknown = append(unknown, g.id)
		} else if reason := missed(g, r); reason != "" {
			if without[reason] == nil {
				reasons = append(reasons, reason)
			}
			without[reason] = append(without[reason], g.id)
		}
	}
	if leads > 0 {
		v.step("%s handed over to other nodes", are(leads, "leader"))
	}
	v.step("it keeps its replicas, is given no new ones, and may be stopped")
	if len(single) > 0 {
		v.step("%s no other voter: not available while the node is stopped", have(single))
	}
	if len(stuck) > 0 {
		v.obstacle("%s no other voter that has caught up and may lead", have(stuck))
	}
	if len(unknown) > 0 {
		v.obstacle("%s: no node has told the members, so nobody knows whether a quorum is left", named(unknown))
	}
	for _, reason := range reasons {
		v.obstacle("%s would have no quorum of %s", named(without[reason]), reason)
	}
}

// missed says why a group would not do without a voter, empty if it would. Others
// that are drained may be stopped, too.
func missed(g *group, r *replica) string {
	if !r.voter {
		return ""
	}
	voters, alive := 0, 0
	var without []string
	for _, o := range g.voters() {
		voters++
		switch {
		case o == r:
		case !o.alive():
			without = append(without, o.nodeID+" is not alive")
		case o.node.state == clusterv1.NodeState_NODE_STATE_DRAINING:
			without = append(without, o.nodeID+" is DRAINING, too")
		default:
			alive++
		}
	}
	if alive >= quorum(voters) {
		return ""
	}
	if len(without) == 0 {
		without = []string{"every one of them is needed"}
	}
	return fmt.Sprintf("%d voters while the node is stopped: %s", voters, strings.Join(without, ", "))
}

// retire: replicas must find another place.
func (v *verdict) retire(w, after *world, n *node) {
	lost := v.to == clusterv1.NodeState_NODE_STATE_LOST
	if lost && n.alive {
		v.obstacle("it is alive, heard of %v ago: decommission it, so that it hands over what it has", rounded(w.Now.Sub(w.Nodes[n.id].LastHeard)))
	}
	if !lost && !n.alive {
		v.obstacle("it is silent for %v: if it does not come back, replace it", rounded(n.silent))
	}
	moves := 0
	fewer := map[[2]int][]uint64{}
	for i, g := range w.groups {
		r := g.rowOn(n.id)
		if r == nil {
			continue
		}
		moves++
		switch now, then := w.goal(g, true), after.goal(after.groups[i], true); {
		case then == 0:
			v.impossible("group %d has no other node to go to%s", g.id, after.noTarget(after.groups[i])[len(noTarget):])
		case v.changeable(g, r, lost) && then < now:
			fewer[[2]int{now, then}] = append(fewer[[2]int{now, then}], g.id)
		}
	}
	for _, change := range sortedChanges(fewer) {
		v.obstacle("%s fewer nodes to be on: %s instead of %d, so %s", have(fewer[change]), count(change[1], "voter"), change[0], survive((change[1]-1)/2))
	}
	if lost {
		v.step("%s made anew on other nodes from the copies that are left", are(moves, "replica"))
	} else {
		v.step("%s moved to other nodes, %d at a time", are(moves, "replica"), w.c.AddsMax)
	}
	v.step("then it is REMOVED, and never let in again")
}

// changeable checks that a group can agree on other members.
func (v *verdict) changeable(g *group, r *replica, lost bool) bool {
	if g.members == nil {
		v.obstacle("group %d: no node has told its members, so nothing can be changed", g.id)
		return false
	}
	voters, alive := g.count()
	if lost && r.alive() {
		alive--
	}
	switch {
	case lost && r.voter && voters == 1:
		v.obstacle("group %d has its only voter there: its data would be lost", g.id)
	case alive < quorum(voters):
		v.obstacle("group %d has no quorum without the node, so its replicas cannot be made anew: %d of %d voters alive", g.id, alive, voters)
	default:
		return true
	}
	return false
}
