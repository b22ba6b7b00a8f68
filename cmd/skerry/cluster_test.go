package main

import (
	"math/rand/v2"
	"strings"
	"testing"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func TestFindNode(t *testing.T) {
	state := cluster{newFakeCluster().state}
	state.Map.Nodes = append(state.Map.Nodes, &clusterv1.Node{NodeId: "aaaa", ApiAddress: "[::1]:9095"})
	for name, want := range map[string]string{
		nodeB: nodeB, "b": nodeB, "n2": nodeB, "n2:9095": nodeB, "n2:9099": nodeB,
		// An id in full is no prefix; a removed node does not disturb, nor is lost.
		"aaaa": "aaaa", "aaaaa": nodeA, "n1": nodeA, "dddd": nodeE, "::1": "aaaa",
	} {
		if got, err := state.find(name); err != nil || got.GetNodeId() != want {
			t.Errorf("%q: got %s, %v; want %s", name, got.GetNodeId(), err, want)
		}
	}
	for name, want := range map[string]string{"cccc": "any of 2 nodes: " + nodeC + " at n3:9095, " + nodeD, "n2:1": "no node is", "z2": "no node is"} {
		if _, err := state.find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}

// Of what the nodes say the highest term is true, in whatever order they say it.
func TestLeaderOfTheHighestTerm(t *testing.T) {
	state := cluster{newFakeCluster().state}
	for range 20 {
		rand.Shuffle(len(state.Nodes), func(i, j int) { state.Nodes[i], state.Nodes[j] = state.Nodes[j], state.Nodes[i] })
		if got, want := state.leader(2), (leader{nodeA, 4, 5}); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	// One that left the directory's record is known by its own report.
	state.group(2).Replicas = nil
	if got := state.leader(2).node; got != nodeA {
		t.Errorf("got %q, want %s", got, nodeA)
	}
	if got := state.leader(99); got != (leader{}) {
		t.Errorf("group 99 is led by %v", got)
	}
}

func TestCommonFormat(t *testing.T) {
	for _, c := range []struct {
		spans [][2]uint32
		want  uint32
	}{
		{nil, 0},
		{[][2]uint32{{1, 3}}, 3},
		{[][2]uint32{{1, 3}, {2, 2}}, 2},
		{[][2]uint32{{1, 1}, {2, 3}}, 0},
	} {
		state := cluster{&nodev1.ClusterStateResponse{Map: &clusterv1.RangeMap{Nodes: []*clusterv1.Node{
			{State: clusterv1.NodeState_NODE_STATE_REMOVED, MinFormat: 9, MaxFormat: 9},
		}}}}
		for _, s := range c.spans {
			state.Map.Nodes = append(state.Map.Nodes, &clusterv1.Node{MinFormat: s[0], MaxFormat: s[1]})
		}
		if got := commonFormat(state); got != c.want {
			t.Errorf("%v: got %d, want %d", c.spans, got, c.want)
		}
	}
}
