package placement

import (
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// balanceReplicas begins one move, if nothing else goes on in the cluster: first to
// spread a group better over zones, then to even out the nodes. Each move makes the
// sum over groups of squared replicas by zone smaller, or keeps it and makes that of
// squared replicas by node smaller; so there is a last one.
func (w *world) balanceReplicas() {
	if !w.calm() {
		return
	}
	var from *replica
	var of *group
	var to *node
	bestZones, bestLoad, most := 0, 1, 0
	for _, n := range w.nodes {
		most = max(most, n.load)
	}
	for _, g := range w.groups {
		if g.state == clusterv1.GroupState_GROUP_STATE_CREATING || !w.movable(g) {
			continue
		}
		in, fullest := zones(g.rows), 0
		for _, count := range in {
			fullest = max(fullest, count)
		}
		for _, n := range w.nodes {
			// Quickly past those that cannot gain: nearly all, at rest.
			if in[n.zone]+1 >= fullest && n.load+1 >= most || !n.eligible() || g.occupied(n.id) {
				continue
			}
			r := g.displaced(n)
			if r == nil {
				continue
			}
			better := in[r.node.zone] - in[n.zone] - 1
			if r.node.zone == n.zone {
				better = 0
			}
			even := r.node.load - n.load
			if better < 0 || better < bestZones || better == bestZones && even <= bestLoad {
				continue
			}
			of, from, to, bestZones, bestLoad = g, r, n, better, even
		}
	}
	switch {
	case of == nil:
	case bestZones > 0:
		w.addReplica(of, to, "to take the place of replica %d on node %s: the group is spread over more zones", from.id, from.nodeID)
	default:
		w.addReplica(of, to, "to take the place of replica %d on node %s, which has %d replicas, this one %d", from.id, from.nodeID, from.node.load, to.load)
	}
}

// calm: everybody is there and has what is wanted. A group that has not begun is empty,
// and perhaps never begins, if its founders are lost: nobody waits for it. LOST nodes
// matter as far as other groups have replicas there.
func (w *world) calm() bool {
	if w.adding > 0 || len(w.actions) > 0 {
		return false
	}
	for _, n := range w.nodes {
		lost := n.state == clusterv1.NodeState_NODE_STATE_REMOVED || n.state == clusterv1.NodeState_NODE_STATE_LOST
		if !lost && (n.state != clusterv1.NodeState_NODE_STATE_UP || !n.alive || n.report.GetStopping()) {
			return false
		}
	}
	for _, g := range w.groups {
		if g.state == clusterv1.GroupState_GROUP_STATE_CREATING {
			continue
		}
		if w.busy[g.id] || g.leading() == nil || len(g.replicas) < len(g.rows) {
			return false
		}
		for _, r := range g.rows {
			if r.role != voterRole || !r.voter || !r.alive() {
				return false
			}
		}
	}
	return true
}

// displaced is the replica that would go if the node were given one; nil if it would
// be that one.
func (g *group) displaced(n *node) *replica {
	added := &replica{id: ^uint64(0), node: n, nodeID: n.id, report: &nodev1.GroupReplica{}}
	n.load++
	defer func() { n.load-- }()
	if r := g.worst(append(g.kept(), added)); r != added {
		return r
	}
	return nil
}
