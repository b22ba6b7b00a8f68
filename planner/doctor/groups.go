package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func (d *diagnosis) groups() {
	for _, g := range d.Groups {
		d.replicas(g)
		d.clock(g)
		if !d.Settled {
			continue
		}
		switch {
		case g.Alive < g.Quorum:
			d.noQuorum(g)
		case g.Creating:
		case g.MembersUnknown:
			d.findTogether(g.ID, warning, "members-unknown", "no node tells who the members are",
				"nothing about their replicas can be changed", "skerry groups; look at the logs of the nodes")
		case g.Leader == 0:
			d.findTogether(g.ID, critical, "no-leader", fmt.Sprintf("%d of %d voters alive, but none leads", g.Alive, g.Voters),
				"no blocks are taken and no fresh queries answered; if it lasts, voters cannot reach each other", "skerry nodes; look at the network between the nodes")
		}
		if !g.Creating && !g.MembersUnknown && g.Alive >= g.Quorum {
			d.redundancy(g)
		}
	}
}

func (d *diagnosis) noQuorum(g placement.GroupHealth) {
	var missing []string
	for _, r := range g.Replicas {
		if r.Voter && !r.Alive {
			missing = append(missing, r.Node)
		}
	}
	subject := fmt.Sprintf("group %d", g.ID)
	consequence := "it takes no blocks, answers no fresh queries, and its members cannot be changed"
	if g.ID == placement.DirectoryGroup {
		subject += " (the directory)"
		consequence = "nodes, replicas and ranges stay as they are: nothing is repaired, moved or split"
	}
	remedy := "start the missing nodes again, with their data"
	if g.Creating {
		consequence = "it cannot begin"
		if remedy += "; if they never come back: skerry replace, for each"; g.Voters-d.lost(g) < g.Quorum {
			d.find(warning, "never-begins", subject, fmt.Sprintf("%d of %d founders are lost, at least %d needed", d.lost(g), g.Voters, g.Quorum),
				"it is empty and stays so: nothing waits for it", "nothing; for another one: skerry groups create")
			return
		}
	}
	d.find(critical, "no-quorum", subject, fmt.Sprintf("%d of %d voters alive, at least %d needed; missing: %s", g.Alive, g.Voters, g.Quorum, strings.Join(missing, ", ")),
		consequence, remedy)
}

// lost counts the voters on nodes that never come back.
func (d *diagnosis) lost(g placement.GroupHealth) int {
	n := 0
	for _, r := range g.Replicas {
		n += one(r.Voter && d.row(r.Node).Gone())
	}
	return n
}

// redundancy says which failures a group survives.
func (d *diagnosis) redundancy(g placement.GroupHealth) {
	nodes := 0
	for _, n := range d.Nodes {
		nodes += one(n.State == clusterv1.NodeState_NODE_STATE_UP)
	}
	switch {
	case g.Alive < g.Voters:
		d.findTogether(g.ID, warning, "under-replicated", fmt.Sprintf("%d of %d voters alive", g.Alive, g.Voters), fails(g.Alive-g.Quorum),
			"skerry nodes: start those that are missing, or replace them")
	case g.Voters < g.Goal:
		d.findTogether(g.ID, warning, "under-replicated", fmt.Sprintf("%s, wanted %d", count(g.Voters, "voter"), g.Goal), fails(g.Alive-g.Quorum),
			"nothing: replicas are being added; skerry status says what they wait for")
	case nodes == 1 && g.Voters == 1:
		d.findTogether(g.ID, info, "single-replica", "the cluster has one node", "there is one copy of the index; "+fails(0),
			"add nodes: with three of them each group has three voters")
	// A directory of three is what a cluster of three nodes has.
	case g.Voters < g.Factor && g.Voters%2 == 1 && (g.ID != placement.DirectoryGroup || g.Voters < 3):
		d.findTogether(g.ID, info, "few-nodes", fmt.Sprintf("%s instead of %d: there are not enough nodes", count(g.Voters, "voter"), g.Factor), fails(g.Alive-g.Quorum), "add nodes")
	}
	if g.Voters%2 == 0 && g.Alive == g.Voters && g.Voters >= g.Goal && !d.moving(g) {
		d.findTogether(g.ID, info, "even-voters", fmt.Sprintf("%d voters", g.Voters), fails(g.Alive-g.Quorum)+", as with one voter less", "add a node")
	}
	if g.Crowded && !d.moving(g) {
		d.findTogether(g.ID, warning, "zone-spread", "two voters are in one zone, though another zone has none",
			"the loss of one zone may take the quorum", "nothing: they are moved once all nodes are UP and alive; skerry status says more")
	}
}

// moving groups are about to change.
func (d *diagnosis) moving(g placement.GroupHealth) bool {
	return slices.ContainsFunc(g.Replicas, func(r placement.ReplicaHealth) bool { return r.Role != clusterv1.ReplicaRole_REPLICA_ROLE_VOTER })
}

func fails(n int) string {
	if n <= 0 {
		return "no voter may fail"
	}
	return count(n, "voter") + " may fail"
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (d *diagnosis) replicas(g placement.GroupHealth) {
	for _, r := range g.Replicas {
		subject := fmt.Sprintf("group %d, replica %d on node %s", g.ID, r.ID, r.Node)
		switch {
		case r.Report.GetState() == nodev1.ReplicaState_REPLICA_STATE_FAILED:
			d.find(critical, "replica-failed", subject, text(r.Report.GetError(), "it cannot be started"),
				"the group does without it; it is replaced if there is another node", "look at the node's log; if its data is damaged: skerry replace "+r.Node)
		case r.Alive && r.Report.GetError() != "":
			d.find(warning, "replica-unread", subject, r.Report.GetError(), "what it holds is not known", "look at the node's log")
		case r.Alive && r.Voter && g.Leader != 0 && !r.CaughtUp:
			d.find(warning, "replica-lagging", subject, fmt.Sprintf("%d entries behind its leader, at most %d are usual", r.Behind, d.c.GapMax),
				"it cannot take over the lead, and queries that it answers wait", "look at the node's disk and network; it catches up by itself")
		}
	}
}

func text(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// clock compares log time, which never goes back, with the directory's clock.
func (d *diagnosis) clock(g placement.GroupHealth) {
	for _, r := range g.Replicas {
		if ahead := time.Duration(r.Report.GetLogTime() - int64(d.picture.Now)); r.Report != nil && ahead > skewMax {
			d.findTogether(g.ID, warning, "clock-skew", fmt.Sprintf("log time is %s ahead of the directory's clock", span(ahead)),
				"leases and delays last that much longer", "set the nodes' clocks: one of them was ahead while it led")
			return
		}
	}
}
