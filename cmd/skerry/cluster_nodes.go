package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func nodesCommand() command {
	return command{
		name: "nodes", summary: "list the nodes, whether they live and what they hold",
		detail: `The state is what operators want of a node; alive is what the directory's leader
sees. LEADERS counts the groups that it leads, DISK FREE is of its data directory.
Nodes that were removed are listed with -all, and in the JSON output.
`,
		setup: setUpNodes,
	}
}

func setUpNodes(set *flag.FlagSet) action {
	all := set.Bool("all", false, "list removed nodes, too")
	return setUpCluster(set, func(std streams, c *client, state cluster) error {
		view := newNodesView(state)
		return show(std, c, view, func(w io.Writer) error { return writeNodes(w, view, state, *all) }, nil)
	})
}

type nodesView struct {
	ClusterID     string           `json:"cluster_id"`
	MapVersion    uint64           `json:"map_version"`
	DirectoryLead string           `json:"directory_leader_node_id"`
	Nodes         []nodeDetailView `json:"nodes"`
}

type nodeDetailView struct {
	ID          string `json:"node_id"`
	Zone        string `json:"zone"`
	State       string `json:"state"`
	StateReason string `json:"state_reason,omitempty"`
	StateSince  string `json:"state_since,omitempty"`
	Alive       bool   `json:"alive"`
	// -1 if there was no report.
	SilentSeconds float64 `json:"silent_seconds"`
	Stopping      bool    `json:"stopping"`
	APIAddress    string  `json:"api_address"`
	RaftAddress   string  `json:"raft_address"`
	Version       string  `json:"version"`
	MinFormat     uint32  `json:"min_format"`
	MaxFormat     uint32  `json:"max_format"`
	Boots         uint64  `json:"boots"`
	JoinedAt      string  `json:"joined_at,omitempty"`
	MapVersion    uint64  `json:"map_version"`
	Replicas      int     `json:"replicas"`
	Leaders       int     `json:"leaders"`
	DiskFree      uint64  `json:"disk_free_bytes"`
	DiskTotal     uint64  `json:"disk_total_bytes"`
	DiskLevel     string  `json:"disk_level"`
	DiskHealth    string  `json:"disk_health"`
}

func newNodesView(state cluster) nodesView {
	view := nodesView{
		ClusterID: state.GetMap().GetCluster().GetClusterId(), MapVersion: state.GetMap().GetCluster().GetMapVersion(),
		DirectoryLead: state.GetLeaderNodeId(), Nodes: []nodeDetailView{},
	}
	for _, node := range state.GetMap().GetNodes() {
		live := state.live(node.GetNodeId())
		report := live.GetReport()
		silent := -1.0
		if live != nil && live.GetSilentFor() >= 0 {
			silent = time.Duration(live.GetSilentFor()).Seconds()
		}
		view.Nodes = append(view.Nodes, nodeDetailView{
			ID: node.GetNodeId(), Zone: node.GetZone(), State: nodeState(node.GetState()),
			StateReason: node.GetStateReason(), StateSince: moment(node.GetStateSince()),
			Alive: live.GetAlive(), SilentSeconds: silent, Stopping: report.GetStopping(),
			APIAddress: node.GetApiAddress(), RaftAddress: node.GetRaftAddress(),
			Version: node.GetVersion(), MinFormat: node.GetMinFormat(), MaxFormat: node.GetMaxFormat(),
			Boots: node.GetBoots(), JoinedAt: moment(node.GetJoinedAt()), MapVersion: report.GetMapVersion(),
			Replicas: state.replicas(node.GetNodeId()), Leaders: len(state.led(node.GetNodeId())),
			DiskFree: report.GetDisk().GetFreeBytes(), DiskTotal: report.GetDisk().GetTotalBytes(),
			DiskLevel:  enumName(report.GetDisk().GetLevel().String(), "LEVEL_"),
			DiskHealth: enumName(report.GetDisk().GetHealth().String(), "HEALTH_"),
		})
	}
	slices.SortStableFunc(view.Nodes, func(a, b nodeDetailView) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.ID, b.ID))
	})
	return view
}

func nodeState(state clusterv1.NodeState) string { return enumName(state.String(), "NODE_STATE_") }

func (n nodeDetailView) aliveText() string {
	switch {
	case n.Stopping && n.Alive:
		return "stopping"
	case n.Alive:
		return "yes"
	default:
		return "no"
	}
}

func (n nodeDetailView) silentText() string {
	if n.SilentSeconds < 0 {
		return "never heard"
	}
	return span(time.Duration(n.SilentSeconds * float64(time.Second)))
}

func (n nodeDetailView) diskFreeText() string {
	if n.DiskTotal == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f%% (%s)", 100*float64(n.DiskFree)/float64(n.DiskTotal), sizeText(n.DiskFree))
}

// diskText has what is not as it should be.
func (n nodeDetailView) diskText() string {
	var parts []string
	for _, part := range []struct{ is, good string }{
		{n.DiskLevel, enumName(nodev1.DiskReport_LEVEL_NORMAL.String(), "LEVEL_")},
		{n.DiskHealth, enumName(nodev1.DiskReport_HEALTH_GOOD.String(), "HEALTH_")},
	} {
		if part.is != part.good && part.is != "unspecified" {
			parts = append(parts, part.is)
		}
	}
	if len(parts) == 0 && n.DiskTotal > 0 {
		return "good"
	}
	return strings.Join(parts, ", ")
}

func writeNodes(w io.Writer, view nodesView, state cluster, all bool) error {
	shorten := state.shortener()
	if err := writeClusterLine(w, state, shorten); err != nil {
		return err
	}
	table := newGrid("NODE", "ZONE", "STATE", "ALIVE", "SILENT", "API", "RAFT", "VERSION", "REPLICAS", "LEADERS", "DISK FREE", "DISK", "BOOTS", "WHY")
	for _, n := range view.Nodes {
		if n.State == nodeState(clusterv1.NodeState_NODE_STATE_REMOVED) && !all {
			continue
		}
		table.row(shorten(n.ID), n.Zone, n.State, n.aliveText(), n.silentText(), n.APIAddress, n.RaftAddress, n.Version,
			n.Replicas, n.Leaders, n.diskFreeText(), n.diskText(), n.Boots, oneLine(n.StateReason))
	}
	return table.write(w)
}

// writeClusterLine says what cluster it is, and who says so.
func writeClusterLine(w io.Writer, state cluster, shorten func(string) string) error {
	who := "by the router alone: the directory does not answer, see: skerry doctor"
	if state.whole() {
		who = "by node " + printable(shorten(state.GetLeaderNodeId()))
	}
	_, err := fmt.Fprintf(w, "cluster %s, map version %d, as seen %s\n\n", printable(state.GetMap().GetCluster().GetClusterId()),
		state.GetMap().GetCluster().GetMapVersion(), who)
	return err
}
