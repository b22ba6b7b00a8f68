package placement

import (
	"cmp"
	"fmt"
	"slices"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Plan returns the steps to take now, in this order, and what would be done but for
// a reason. There is at most one step for each group.
func Plan(p Picture, c Config) (actions []Action, notes []string) {
	w := newWorld(p, c)
	if w == nil {
		return nil, []string{"there is no map yet"}
	}
	for _, g := range w.groups {
		w.step(g)
	}
	w.begin()
	w.removeNodes()
	w.evacuate()
	w.balanceLeaders()
	return w.actions, w.notes
}

// world is a picture, worked out, and the plan as it grows.
type world struct {
	Picture
	c        Config
	settings *clusterv1.Settings
	settled  bool
	// Sorted by id.
	nodes  []*node
	byID   map[string]*node
	groups []*group

	actions []Action
	notes   []string
	// Groups that have their step, or wait for one that was begun.
	busy map[uint64]bool
	// Learners that catch up.
	adding int
}

// newWorld is nil without a map.
func newWorld(p Picture, c Config) *world {
	if p.Map.GetCluster() == nil {
		return nil
	}
	w := &world{
		Picture: p, c: c, settings: p.Map.GetCluster().GetSettings(), settled: settled(p, c),
		byID: map[string]*node{}, busy: map[uint64]bool{},
	}
	reports := map[uint64]map[uint64]*nodev1.GroupReplica{}
	for _, row := range p.Map.GetNodes() {
		n := newNode(row, p, c, w.settings.RepairAfterOrDefault())
		w.nodes = append(w.nodes, n)
		w.byID[n.id] = n
		for _, r := range n.report.GetReplicas() {
			if reports[r.GetGroupId()] == nil {
				reports[r.GetGroupId()] = map[uint64]*nodev1.GroupReplica{}
			}
			reports[r.GetGroupId()][r.GetReplicaId()] = r
		}
	}
	slices.SortFunc(w.nodes, func(a, b *node) int { return cmp.Compare(a.id, b.id) })
	streams := map[uint64]bool{}
	for _, r := range p.Map.GetRanges() {
		if r.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
			streams[r.GetGroupId()] = true
		}
	}
	for _, row := range p.Map.GetGroups() {
		g := newGroup(row, w.byID, reports[row.GetGroupId()], w.settings)
		g.streams = streams[g.id]
		w.groups = append(w.groups, g)
		w.weigh(g)
	}
	slices.SortFunc(w.groups, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	return w
}

// weigh counts what a group costs its nodes.
func (w *world) weigh(g *group) {
	for _, r := range g.rows {
		if r.node != nil && r.role != leavingRole {
			r.node.load++
		}
		// One that catches up, or has yet to start.
		if r.role == learnerRole && r.trouble() == "" && !(r.member() && g.caughtUp(r, w.c.GapMax)) {
			w.adding++
		}
	}
	if r := g.replicas[g.leader]; r != nil && r.node != nil {
		r.node.leads += g.weight()
	}
}

func (w *world) act(a Action, format string, args ...any) {
	a.Reason = fmt.Sprintf(format, args...)
	w.actions = append(w.actions, a)
	if a.Group != 0 {
		w.busy[a.Group] = true
	}
}

func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

func (w *world) setRole(g *group, r *replica, role clusterv1.ReplicaRole, format string, args ...any) {
	w.act(Action{Kind: SetRole, Group: g.id, Replica: r.id, Node: r.nodeID, Role: role}, format, args...)
}

func (w *world) raft(kind Kind, g *group, r *replica, format string, args ...any) {
	w.act(Action{Kind: kind, Group: g.id, Replica: r.id, Node: r.nodeID, ConfigID: g.members.GetConfigId()}, format, args...)
}

// removeNodes ends what a decommission or a loss began.
func (w *world) removeNodes() {
	if !w.settled {
		return
	}
	for _, n := range w.nodes {
		if n.state != clusterv1.NodeState_NODE_STATE_DECOMMISSIONING && n.state != clusterv1.NodeState_NODE_STATE_LOST {
			continue
		}
		if !slices.ContainsFunc(w.groups, func(g *group) bool { return g.occupied(n.id) }) {
			w.act(Action{Kind: RemoveNode, Node: n.id}, "it is %s and has no replica any more", stateName(n.state))
		}
	}
}
