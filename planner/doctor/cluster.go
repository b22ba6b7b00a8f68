package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

func (d *diagnosis) operations(all []*clusterv1.Operation) {
	for _, o := range all {
		lasting := d.since(o.GetStartedAt())
		if o.GetState() != clusterv1.Operation_STATE_RUNNING || lasting < stuckAfter {
			continue
		}
		kind := strings.ToLower(strings.TrimPrefix(o.GetKind().String(), "KIND_"))
		d.find(warning, "operation-stuck", fmt.Sprintf("operation %d", o.GetOperationId()),
			fmt.Sprintf("a %s in group %d runs for %s%s", kind, o.GetGroupId(), span(lasting), because(o.GetError())),
			"its ranges cannot be split or merged otherwise until it ends", "skerry ranges; skerry groups: the group must have a leader")
	}
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return ": " + err
}

// formats says whether an upgrade waits for its end.
func (d *diagnosis) formats() {
	active := d.picture.Map.GetCluster().GetActiveVersion()
	lowest := ^uint32(0)
	versions := map[string]int{}
	for _, n := range d.picture.Map.GetNodes() {
		if n.GetState() == clusterv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		lowest = min(lowest, n.GetMaxFormat())
		versions[n.GetVersion()]++
	}
	switch {
	case len(versions) > 1:
		var parts []string
		for _, version := range slices.Sorted(maps.Keys(versions)) {
			parts = append(parts, fmt.Sprintf("%s of %s", count(versions[version], "node"), text(version, "an unknown version")))
		}
		d.find(info, "mixed-versions", "cluster", strings.Join(parts, ", "), "new features wait until all nodes have them", "upgrade the rest, one by one")
	case len(versions) == 1 && lowest > active:
		d.find(info, "format-pending", "cluster", fmt.Sprintf("data format %d is in use, all nodes work with %d", active, lowest),
			"new features are off, and the older version can still be gone back to", "skerry upgrade finalize")
	}
}

// leaders looks for a spread that balance should have evened out.
func (d *diagnosis) leaders() {
	if d.picture.Map.GetCluster().GetSettings().GetLeaderBalanceOff() || !d.Settled {
		return
	}
	var low, high *placement.NodeHealth
	for i, n := range d.Nodes {
		if !n.Eligible {
			continue
		}
		if low == nil || n.Leaders < low.Leaders {
			low = &d.Nodes[i]
		}
		if high == nil || n.Leaders > high.Leaders {
			high = &d.Nodes[i]
		}
	}
	// As much as the heaviest leader twice, and the directory's, which stays.
	if low == nil || high.Leaders-low.Leaders <= 5 || low.Replicas == 0 {
		return
	}
	d.find(info, "leaders-uneven", "cluster", fmt.Sprintf("node %s leads %d, node %s %d (streams count twice)", high.ID, high.Leaders, low.ID, low.Leaders),
		"the first does most of the work", "nothing, if it passes; skerry leaders shows who leads")
}
