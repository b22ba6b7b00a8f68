package main

import (
	"slices"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// foundersMax bounds the nodes that found a cluster: each has a replica of the
// directory, and more replicas than that make it slower, not safer.
const foundersMax = 5

// layoutCluster lays out a new cluster: the directory on all nodes, each data
// group on as many as the replication factor says, if there are as many. Groups
// are spread equally, and their replicas over zones.
func layoutCluster(layout clusterv1.InitialLayout, replicationFactor int) (*clusterv1.RangeMap, error) {
	m, err := clusterv1.NewRangeMap(layout)
	if err != nil {
		return nil, err
	}
	if replicationFactor != m.GetCluster().GetSettings().ReplicationFactorOrDefault() {
		m.Cluster.Settings = &clusterv1.Settings{ReplicationFactor: uint32(replicationFactor)}
	}
	load := map[string]int{}
	for i, group := range m.GetGroups() {
		if group.GetGroupId() == clusterv1.DirectoryGroup {
			continue
		}
		chosen := spread(m.GetNodes(), min(replicationFactor, len(m.GetNodes())), i, load)
		other := func(r *clusterv1.Replica) bool { return !slices.Contains(chosen, r.GetNodeId()) }
		group.Replicas = slices.DeleteFunc(group.GetReplicas(), other)
		group.Founders = slices.DeleteFunc(group.GetFounders(), other)
	}
	return m, clusterv1.CheckDirectory(m)
}

// spread chooses the nodes of a group: each from a zone that the group has the
// fewest of, then those with the fewest groups so far, then in turn.
func spread(nodes []*clusterv1.Node, count, turn int, load map[string]int) []string {
	var chosen []string
	zones := map[string]int{}
	for range count {
		var best *clusterv1.Node
		for i := range nodes {
			node := nodes[(turn+i)%len(nodes)]
			if slices.Contains(chosen, node.GetNodeId()) {
				continue
			}
			if best == nil || zones[node.GetZone()] < zones[best.GetZone()] ||
				zones[node.GetZone()] == zones[best.GetZone()] && load[node.GetNodeId()] < load[best.GetNodeId()] {
				best = node
			}
		}
		chosen = append(chosen, best.GetNodeId())
		zones[best.GetZone()]++
		load[best.GetNodeId()]++
	}
	return chosen
}
