package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// statusView is a cluster's status in the order of fields that JSON output
// promises. It joins what the map says with what nodes report: a replica that
// one of them knows is listed.
type statusView struct {
	Version    string `json:"version"`
	ClusterID  string `json:"cluster_id"`
	MapVersion uint64 `json:"map_version"`
	// Set if the directory did not tell who lives.
	DirectoryError string        `json:"directory_error,omitempty"`
	Nodes          []nodeView    `json:"nodes"`
	Replicas       []replicaView `json:"replicas"`
}

type nodeView struct {
	ID    string `json:"node_id"`
	Zone  string `json:"zone"`
	State string `json:"state"`
	// Left out if nobody knows.
	Alive       *bool  `json:"alive,omitempty"`
	APIAddress  string `json:"api_address"`
	RaftAddress string `json:"raft_address"`
	Error       string `json:"error,omitempty"`
}

type replicaView struct {
	GroupID         uint64      `json:"group_id"`
	NodeID          string      `json:"node_id"`
	ReplicaID       uint64      `json:"replica_id"`
	Reported        bool        `json:"reported"`
	LeaderReplicaID uint64      `json:"leader_replica_id"`
	Term            uint64      `json:"term"`
	LeaderEpoch     uint64      `json:"leader_epoch"`
	AppliedIndex    uint64      `json:"applied_index"`
	LogTime         string      `json:"log_time"`
	Blocks          uint64      `json:"blocks"`
	ObjectBytes     uint64      `json:"object_bytes"`
	Ranges          []rangeView `json:"ranges"`
	Error           string      `json:"error,omitempty"`
}

type rangeView struct {
	ID       uint64 `json:"range_id"`
	Keyspace string `json:"keyspace"`
	Lo       string `json:"lo"`
	// "0000000000000000" is the end of the space.
	Hi    string `json:"hi"`
	Epoch uint64 `json:"epoch"`
}

func newStatusView(status *adminv1.StatusResponse) statusView {
	view := statusView{
		Version:    status.GetVersion(),
		ClusterID:  status.GetMap().GetCluster().GetClusterId(),
		MapVersion: status.GetMap().GetCluster().GetMapVersion(),
		Nodes:      []nodeView{},
		Replicas:   []replicaView{},
	}
	reports := map[string]*adminv1.NodeStatus{}
	for _, report := range status.GetNodes() {
		reports[report.GetNodeId()] = report
	}
	view.addNodes(status, reports)
	view.addReplicas(status, reports)
	return view
}

func (v *statusView) addNodes(status *adminv1.StatusResponse, reports map[string]*adminv1.NodeStatus) {
	known := map[string]bool{}
	for _, node := range status.GetMap().GetNodes() {
		known[node.GetNodeId()] = true
		view := nodeView{
			ID:          node.GetNodeId(),
			Zone:        node.GetZone(),
			State:       enumName(node.GetState().String(), "NODE_STATE_"),
			APIAddress:  node.GetApiAddress(),
			RaftAddress: node.GetRaftAddress(),
			Error:       "not asked",
		}
		if report := reports[node.GetNodeId()]; report != nil {
			view.Error = report.GetError()
		}
		v.Nodes = append(v.Nodes, view)
	}
	for _, report := range status.GetNodes() {
		if !known[report.GetNodeId()] {
			v.Nodes = append(v.Nodes, nodeView{ID: report.GetNodeId(), State: "not in the map", Error: report.GetError()})
		}
	}
}

// addLiveness says of each node whether it lives.
func (v *statusView) addLiveness(seen sight) {
	v.DirectoryError = seen.fault
	for i := range v.Nodes {
		if live := seen.live(v.Nodes[i].ID); live != nil {
			alive := live.GetAlive()
			v.Nodes[i].Alive = &alive
		}
	}
}

func (n nodeView) aliveText() string {
	switch {
	case n.Alive == nil:
		return ""
	case *n.Alive:
		return "yes"
	default:
		return "no"
	}
}

type replicaKey struct {
	node  string
	group uint64
}

func (v *statusView) addReplicas(status *adminv1.StatusResponse, reports map[string]*adminv1.NodeStatus) {
	reported := map[replicaKey]bool{}
	for _, node := range status.GetNodes() {
		for _, replica := range node.GetReplicas() {
			reported[replicaKey{node.GetNodeId(), replica.GetGroupId()}] = true
			v.Replicas = append(v.Replicas, newReplicaView(node.GetNodeId(), replica))
		}
	}
	for _, group := range status.GetMap().GetGroups() {
		for _, replica := range group.GetReplicas() {
			if reported[replicaKey{replica.GetNodeId(), group.GetGroupId()}] {
				continue
			}
			fault := "not reported by its node"
			if reports[replica.GetNodeId()].GetError() != "" {
				fault = "the node could not be asked"
			}
			v.Replicas = append(v.Replicas, replicaView{
				GroupID: group.GetGroupId(), NodeID: replica.GetNodeId(), ReplicaID: replica.GetReplicaId(),
				Ranges: []rangeView{}, Error: fault,
			})
		}
	}
	slices.SortStableFunc(v.Replicas, func(a, b replicaView) int {
		return cmp.Or(cmp.Compare(a.GroupID, b.GroupID), cmp.Compare(a.ReplicaID, b.ReplicaID))
	})
}

func newReplicaView(node string, replica *nodev1.GroupReplica) replicaView {
	view := replicaView{
		GroupID:         replica.GetGroupId(),
		NodeID:          node,
		ReplicaID:       replica.GetReplicaId(),
		Reported:        true,
		LeaderReplicaID: replica.GetLeaderReplicaId(),
		Term:            replica.GetTerm(),
		LeaderEpoch:     replica.GetLeaderEpoch(),
		AppliedIndex:    replica.GetAppliedIndex(),
		LogTime:         time.Unix(0, replica.GetLogTime()).UTC().Format(time.RFC3339Nano),
		Blocks:          replica.GetBlocks(),
		ObjectBytes:     replica.GetObjectBytes(),
		Ranges:          []rangeView{},
		Error:           replica.GetError(),
	}
	for _, r := range replica.GetRanges() {
		view.Ranges = append(view.Ranges, newRangeView(r))
	}
	return view
}

func newRangeView(r *clusterv1.Range) rangeView {
	return rangeView{
		ID:       r.GetRangeId(),
		Keyspace: enumName(r.GetKeyspace().String(), "KEYSPACE_"),
		Lo:       fmt.Sprintf("%016x", r.GetLo()),
		Hi:       fmt.Sprintf("%016x", r.GetHi()),
		Epoch:    r.GetEpoch(),
	}
}

func (r replicaView) leadership() string {
	switch r.LeaderReplicaID {
	case 0:
		return "unknown"
	case r.ReplicaID:
		return "yes"
	default:
		return "no"
	}
}

// spans writes ranges for a narrow column: tenant 4000-8000, stream 0000-end.
func spans(ranges []rangeView) string {
	var texts []string
	for _, r := range ranges {
		end := "end"
		if strings.Trim(r.Hi, "0") != "" {
			end = shortPoint(r.Hi)
		}
		texts = append(texts, r.Keyspace+" "+shortPoint(r.Lo)+"-"+end)
	}
	return strings.Join(texts, "\n")
}

func shortPoint(digits string) string {
	const shown = 4
	if strings.Trim(digits[shown:], "0") == "" {
		return digits[:shown]
	}
	return digits[:shown] + "~"
}

func enumName(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}
