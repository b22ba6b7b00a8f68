package clusterv1_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// drawMap draws a map in the order that maps have; it need not be valid.
func drawMap(t *rapid.T) *clusterv1.RangeMap {
	m := &clusterv1.RangeMap{Cluster: &clusterv1.Cluster{ClusterId: "c"}}
	ids := func(name string) []uint64 {
		return rapid.SliceOfNDistinct(rapid.Uint64Range(1, 12), 0, 8, rapid.ID).Draw(t, name)
	}
	small := rapid.Uint64Range(0, 2)
	for _, id := range ids("nodes") {
		m.Nodes = append(m.Nodes, &clusterv1.Node{NodeId: fmt.Sprintf("n%02d", id), Boots: small.Draw(t, "boots")})
	}
	for _, id := range ids("groups") {
		group := &clusterv1.Group{GroupId: id}
		for i := range small.Draw(t, "replicas") {
			group.Replicas = append(group.Replicas, &clusterv1.Replica{ReplicaId: i})
		}
		m.Groups = append(m.Groups, group)
	}
	for _, id := range ids("ranges") {
		// Points are unique, so there is one order.
		lo := id<<8 | small.Draw(t, "lo")
		m.Ranges = append(m.Ranges, &clusterv1.Range{RangeId: id, Keyspace: clusterv1.Keyspace(1 + small.Draw(t, "keyspace")%2), Lo: lo, Epoch: small.Draw(t, "epoch")})
	}
	m, err := clusterv1.Apply(&clusterv1.RangeMap{Cluster: m.Cluster}, &clusterv1.MapDelta{Cluster: m.Cluster, Nodes: m.Nodes, Groups: m.Groups, Ranges: m.Ranges})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestApplyUndoesDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, new := drawMap(t), drawMap(t)
		old.Cluster = &clusterv1.Cluster{ClusterId: "c", MapVersion: 3}
		new.Cluster = &clusterv1.Cluster{ClusterId: "c", MapVersion: 3 + rapid.Uint64Range(0, 5).Draw(t, "versions"), NextGroupId: 7}
		before, target := proto.CloneOf(old), proto.CloneOf(new)
		delta := clusterv1.Diff(old, new)
		encoded, err := proto.Marshal(delta)
		if err != nil {
			t.Fatal(err)
		}
		received := &clusterv1.MapDelta{}
		if err := proto.Unmarshal(encoded, received); err != nil {
			t.Fatal(err)
		}
		got, err := clusterv1.Apply(old, received)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, target) {
			t.Errorf("applied %v, want %v", got, target)
		}
		if !proto.Equal(old, before) || !proto.Equal(new, target) {
			t.Error("a map was changed")
		}
		for _, node := range delta.GetNodes() { // no more than what differs
			for _, was := range old.GetNodes() {
				if proto.Equal(was, node) {
					t.Errorf("the delta repeats %v", node)
				}
			}
		}
	})
}

func TestWrongDeltasAreRefused(t *testing.T) {
	old := layout(t, 4, 1)
	old.Cluster.MapVersion = 7
	for want, delta := range map[string]*clusterv1.MapDelta{
		"no cluster record":           {FromVersion: 7},
		"of cluster \"other\"":        {FromVersion: 7, Cluster: &clusterv1.Cluster{ClusterId: "other", MapVersion: 8}},
		"from version 6":              {FromVersion: 6, Cluster: &clusterv1.Cluster{ClusterId: "c", MapVersion: 8}},
		"from version 8":              {FromVersion: 8, Cluster: &clusterv1.Cluster{ClusterId: "c", MapVersion: 9}},
		"back from version 7 to 6":    {FromVersion: 7, Cluster: &clusterv1.Cluster{ClusterId: "c", MapVersion: 6}},
		"range 99 is removed and was": {FromVersion: 7, Cluster: &clusterv1.Cluster{ClusterId: "c", MapVersion: 8}, RemovedRanges: []uint64{99}},
		"node x is removed and was":   {FromVersion: 7, Cluster: &clusterv1.Cluster{ClusterId: "c", MapVersion: 8}, RemovedNodes: []string{"x"}},
		"group 99 is removed and was": {FromVersion: 7, Cluster: &clusterv1.Cluster{ClusterId: "c", MapVersion: 8}, RemovedGroups: []uint64{99}},
	} {
		if m, err := clusterv1.Apply(old, delta); m != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", m, err, want)
		}
	}
}
