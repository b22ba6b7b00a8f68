package doctor

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func (d *diagnosis) nodes() {
	for _, n := range d.Nodes {
		if n.State == clusterv1.NodeState_NODE_STATE_REMOVED || n.State == clusterv1.NodeState_NODE_STATE_UNSPECIFIED {
			continue
		}
		d.silence(n)
		d.disk(n)
		d.forgotten(n)
	}
}

func (d *diagnosis) silence(n placement.NodeHealth) {
	if n.Alive || !d.Settled || n.State == clusterv1.NodeState_NODE_STATE_LOST {
		return
	}
	cause := "it has not reported for " + span(n.Silent)
	if n.Report == nil {
		cause = fmt.Sprintf("it has not reported since the directory's leader took over %s ago", span(n.Silent))
	}
	after := d.picture.Map.GetCluster().GetSettings().RepairAfterOrDefault()
	consequence := "its replicas are made anew on other nodes, as far as there are any"
	switch {
	case n.Replicas == 0:
		consequence = "it has no replicas: nothing is missing"
	case n.State == clusterv1.NodeState_NODE_STATE_DECOMMISSIONING:
	case after == math.MaxInt64:
		consequence = fmt.Sprintf("%s missing until it is back: replicas are not made anew by themselves, since repair_after is negative", count(n.Replicas, "replica"))
	case !n.Dead:
		consequence = fmt.Sprintf("%s missing; made anew on other nodes in %s", count(n.Replicas, "replica"), span(after-n.Silent))
	}
	d.find(warning, "node-silent", "node "+n.ID, cause, consequence, "start it again; if it will never come back: skerry replace "+n.ID)
}

func (d *diagnosis) disk(n placement.NodeHealth) {
	if !n.Alive {
		return
	}
	disk := n.Report.GetDisk()
	free := fmt.Sprintf("%s free of %s", bytes(disk.GetFreeBytes()), bytes(disk.GetTotalBytes()))
	switch disk.GetLevel() {
	case nodev1.DiskReport_LEVEL_LOW:
		d.find(warning, "disk-low", "node "+n.ID, free,
			"it leads no group and refuses new blocks; once the disk is full, its replicas stop", "give it a larger disk, or: skerry decommission "+n.ID)
	case nodev1.DiskReport_LEVEL_FULL:
		d.find(critical, "disk-full", "node "+n.ID, free,
			"its replicas are stopped: groups survive fewer failures", "give it a larger disk: its replicas go on by themselves")
	}
	switch disk.GetHealth() {
	case nodev1.DiskReport_HEALTH_SLOW:
		d.find(warning, "disk-slow", "node "+n.ID, "a write to its disk takes seconds",
			"it leads no group; groups that need it wait for its disk", "look for a failing disk, or: skerry decommission "+n.ID)
	case nodev1.DiskReport_HEALTH_STALLED:
		d.find(critical, "disk-stalled", "node "+n.ID, "writes to its disk do not end, or fail",
			"the node stops", "replace the disk, then: skerry replace "+n.ID)
	}
}

func bytes(n uint64) string {
	const kilo = 1024
	if n < kilo {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= kilo && unit < 4 {
		value /= kilo
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[unit])
}

// forgotten states were meant to pass.
func (d *diagnosis) forgotten(n placement.NodeHealth) {
	row := d.row(n.ID)
	lasting := d.since(row.GetStateSince())
	if lasting < forgottenAfter {
		return
	}
	switch n.State {
	case clusterv1.NodeState_NODE_STATE_DRAINING:
		d.find(warning, "drain-forgotten", "node "+n.ID, fmt.Sprintf("it is DRAINING for %s%s", span(lasting), why(row)),
			"it leads nothing and is given nothing: the others carry its load, and replicas are not balanced", "skerry drain "+n.ID+" -off")
	case clusterv1.NodeState_NODE_STATE_DECOMMISSIONING, clusterv1.NodeState_NODE_STATE_LOST:
		state := strings.TrimPrefix(n.State.String(), "NODE_STATE_")
		d.find(warning, "node-leaving", "node "+n.ID, fmt.Sprintf("it is %s for %s%s, with %s left", state, span(lasting), why(row), count(d.replicasOn(n.ID), "replica")),
			"it is not REMOVED before the last one has left", "skerry status says what each group waits for")
	}
}

func why(row *clusterv1.Node) string {
	if row.GetStateReason() == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", row.GetStateReason())
}

func (d *diagnosis) replicasOn(id string) int {
	n := 0
	for _, g := range d.Groups {
		if slices.ContainsFunc(g.Replicas, func(r placement.ReplicaHealth) bool { return r.Node == id }) {
			n++
		}
	}
	return n
}
