package placement

import (
	"fmt"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// node is one node, judged.
type node struct {
	id     string
	state  clusterv1.NodeState
	zone   string
	report *nodev1.NodeReport
	// Since the last report, or since the controller began.
	silent time.Duration
	// Heard of lately; silent for so long that it will not come back.
	alive, dead bool
	// Reports for long enough to be given leaders for balance.
	seasoned bool
	// Replicas in the map that stay, and what they weigh that lead here.
	load, leads int
}

func newNode(row *clusterv1.Node, p Picture, c Config, repairAfter time.Duration) *node {
	n := &node{id: row.GetNodeId(), state: row.StateOrUp(), zone: row.GetZone()}
	if n.zone == "" {
		// No zone has a name with this byte.
		n.zone = "\x00" + n.id
	}
	view, heard := p.Nodes[n.id]
	n.report = view.Report
	heard = heard && view.Report != nil
	n.silent = max(0, p.Now.Sub(max(view.LastHeard, p.Since)))
	n.alive = heard && p.Now.Sub(view.LastHeard) <= c.AliveWithin
	n.dead = !n.alive && n.silent >= repairAfter
	n.seasoned = n.alive && (view.HeardSince == 0 || p.Now.Sub(view.HeardSince) >= c.Seasoned)
	return n
}

// diskLevel is worse than normal if new data must not go there.
func (n *node) diskLevel() nodev1.DiskReport_Level { return n.report.GetDisk().GetLevel() }

func (n *node) diskShort() bool {
	return n.diskLevel() == nodev1.DiskReport_LEVEL_LOW || n.diskLevel() == nodev1.DiskReport_LEVEL_FULL
}

func (n *node) diskSlow() bool {
	health := n.report.GetDisk().GetHealth()
	return health == nodev1.DiskReport_HEALTH_SLOW || health == nodev1.DiskReport_HEALTH_STALLED
}

// eligible nodes may be given replicas, and leaders.
func (n *node) eligible() bool { return n.unfit() == "" }

// unfit says why the node is given nothing; empty if it may be given something.
func (n *node) unfit() string {
	switch {
	case n.state != clusterv1.NodeState_NODE_STATE_UP:
		return "it is " + stateName(n.state)
	case !n.alive:
		return "it is silent"
	case n.report.GetStopping():
		return "it is stopping"
	case n.diskShort():
		return "its disk is short of space"
	case n.diskSlow():
		return "its disk is slow"
	}
	return ""
}

// gone nodes are to have no replicas: so an operator says.
func (n *node) gone() bool {
	return n.state != clusterv1.NodeState_NODE_STATE_UP && n.state != clusterv1.NodeState_NODE_STATE_DRAINING
}

// hopeful nodes may be eligible again soon.
func (n *node) hopeful() bool {
	return n.state == clusterv1.NodeState_NODE_STATE_DRAINING && !n.dead ||
		n.state == clusterv1.NodeState_NODE_STATE_UP && (n.report.GetStopping() && n.alive || !n.alive && !n.dead)
}

// trouble says why replicas leave the node; empty if they stay.
func (n *node) trouble() string {
	switch {
	case n.gone():
		return fmt.Sprintf("node %s is %s", n.id, stateName(n.state))
	case n.dead:
		return fmt.Sprintf("node %s is silent for %v", n.id, rounded(n.silent))
	}
	return ""
}

// noLeader says why the node must not lead; empty if it may.
func (n *node) noLeader() string {
	switch {
	case n.state != clusterv1.NodeState_NODE_STATE_UP:
		return fmt.Sprintf("node %s is %s", n.id, stateName(n.state))
	case n.report.GetStopping():
		return fmt.Sprintf("node %s is stopping", n.id)
	case n.diskShort():
		return fmt.Sprintf("the disk of node %s is short of space", n.id)
	case n.diskSlow():
		return fmt.Sprintf("the disk of node %s is slow", n.id)
	}
	return ""
}

func rounded(d time.Duration) time.Duration { return d.Round(time.Second) }

// settled tells whether everybody had time to report.
func settled(p Picture, c Config) bool { return p.Since == 0 || p.Now.Sub(p.Since) >= c.Settle }
