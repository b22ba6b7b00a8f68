package clusterv1_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

func layout(t *testing.T, groups, streams int) *clusterv1.RangeMap {
	t.Helper()
	m, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: "c", Node: &clusterv1.Node{NodeId: "n"}, Groups: groups, StreamGroups: streams,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestInitialLayoutTilesBothKeyspaces(t *testing.T) {
	for _, size := range []struct{ groups, streams int }{{1, 1}, {3, 1}, {4, 4}, {8, 2}, {100, 7}} {
		m, err := clusterv1.NewMap(layout(t, size.groups, size.streams))
		if err != nil {
			t.Fatal(size, err)
		}
		if n := len(m.Ranges(clusterv1.Keyspace_KEYSPACE_TENANT)); n != size.groups {
			t.Errorf("%v: %d tenant ranges", size, n)
		}
		if n := len(m.Ranges(clusterv1.Keyspace_KEYSPACE_STREAM)); n != size.streams {
			t.Errorf("%v: %d stream ranges", size, n)
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			point := random.Uint64()
			if r := m.Lookup(clusterv1.Keyspace_KEYSPACE_TENANT, point); !r.Contains(point) {
				t.Fatalf("%v: %x looked up in range %x-%x", size, point, r.GetLo(), r.GetHi())
			}
		}
	}
}

func TestCoverSplitsAtRangeBorders(t *testing.T) {
	m, err := clusterv1.NewMap(layout(t, 4, 1))
	if err != nil {
		t.Fatal(err)
	}
	const quarter = uint64(1) << 62
	tenant := clusterv1.Keyspace_KEYSPACE_TENANT
	for _, test := range []struct {
		lo, hi uint64
		groups []uint64
	}{
		{0, 0, []uint64{2, 3, 4, 5}},
		{quarter - 1, quarter + 1, []uint64{2, 3}},
		{quarter, 2 * quarter, []uint64{3}},
		{3*quarter + 7, 0, []uint64{5}},
		{5, 6, []uint64{2}},
	} {
		pieces := m.Cover(tenant, test.lo, test.hi)
		var groups []uint64
		next := test.lo
		for _, piece := range pieces {
			groups = append(groups, piece.GroupID)
			if piece.Ref.GetLo() != next || piece.Ref.GetEpoch() != 1 {
				t.Errorf("%x-%x: piece %v", test.lo, test.hi, piece.Ref)
			}
			next = piece.Ref.GetHi()
		}
		if next != test.hi || len(groups) != len(test.groups) {
			t.Errorf("%x-%x is covered by %v up to %x, want %v", test.lo, test.hi, groups, next, test.groups)
		}
		for i := range groups {
			if groups[i] != test.groups[i] {
				t.Errorf("%x-%x: groups %v, want %v", test.lo, test.hi, groups, test.groups)
			}
		}
	}
}

func TestBadMapsAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(*clusterv1.RangeMap)
		want   string
	}{
		"hole":          {func(m *clusterv1.RangeMap) { m.Ranges[1].Lo++ }, "ends at"},
		"overlap":       {func(m *clusterv1.RangeMap) { m.Ranges[0].Hi++ }, "ends at"},
		"missing first": {func(m *clusterv1.RangeMap) { m.Ranges = m.Ranges[1:] }, "before the first"},
		"no streams":    {func(m *clusterv1.RangeMap) { m.Ranges = m.Ranges[:4] }, "STREAM"},
		"twice the whole": {func(m *clusterv1.RangeMap) {
			again := proto.CloneOf(m.Ranges[4])
			again.RangeId = 77
			m.Ranges = append(m.Ranges, again)
		}, "both begin"},
		"empty range": {func(m *clusterv1.RangeMap) {
			m.Ranges = append(m.Ranges, &clusterv1.Range{RangeId: 77, Keyspace: 1, Lo: m.Ranges[1].Lo, Hi: m.Ranges[1].Lo, GroupId: 2, Epoch: 1})
		}, "both begin"},
		"range id twice": {func(m *clusterv1.RangeMap) { m.Ranges[1].RangeId = m.Ranges[0].RangeId }, "range id 1 is 0 or not unique"},
		"no range id":    {func(m *clusterv1.RangeMap) { m.Ranges[1].RangeId = 0 }, "not unique"},
		"group id twice": {func(m *clusterv1.RangeMap) { m.Groups[1].GroupId = 1 }, "group id 1 is 0 or not unique"},
		"no node id":     {func(m *clusterv1.RangeMap) { m.Nodes[0].NodeId = "" }, "node id \"\" is empty"},
		"unknown group":  {func(m *clusterv1.RangeMap) { m.Ranges[0].GroupId = 99 }, "unknown group 99"},
		"unknown node":   {func(m *clusterv1.RangeMap) { m.Nodes = nil }, "unknown node"},
		"no epoch":       {func(m *clusterv1.RangeMap) { m.Ranges[0].Epoch = 0 }, "no epoch"},
		"no keyspace":    {func(m *clusterv1.RangeMap) { m.Ranges[0].Keyspace = 0 }, "no keyspace"},
		"no cluster":     {func(m *clusterv1.RangeMap) { m.Cluster = nil }, "no cluster"},
	} {
		m := layout(t, 4, 1)
		test.damage(m)
		if err := clusterv1.CheckDirectory(m); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestBadReplicasAreRefused(t *testing.T) {
	for want, damage := range map[string]func(*clusterv1.RangeMap){
		"does not say which replicas":   func(m *clusterv1.RangeMap) { m.Groups[2].Founders = nil },
		"replica id 1, which is":        func(m *clusterv1.RangeMap) { m.Groups[2].Replicas[0].ReplicaId = 1 },
		"replica id 0, which is":        func(m *clusterv1.RangeMap) { m.Groups[2].Replicas[0].ReplicaId = 0 },
		"has two replicas on node":      func(m *clusterv1.RangeMap) { m.Groups[2].Replicas[1].NodeId = "m" },
		"without a known role":          func(m *clusterv1.RangeMap) { m.Groups[2].Replicas[1].Role = 0 },
		"replica 6 without a known":     func(m *clusterv1.RangeMap) { m.Groups[2].Replicas[1].Role = 9 },
		"group 3 has no voter":          func(m *clusterv1.RangeMap) { m.Groups[2].Replicas = nil },
		"group id 3 is in use":          func(m *clusterv1.RangeMap) { m.Cluster.NextGroupId = 3 },
		"replica id 6 is in use":        func(m *clusterv1.RangeMap) { m.Cluster.NextReplicaId = 6 },
		"range id 3 is in use":          func(m *clusterv1.RangeMap) { m.Cluster.NextRangeId = 3 },
		"a replica on unknown node \"x": func(m *clusterv1.RangeMap) { m.Groups[2].Replicas[1].NodeId = "x" },
	} {
		m, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
			ClusterID: "c", Node: &clusterv1.Node{NodeId: "n"}, Peers: []*clusterv1.Node{{NodeId: "m"}}, Groups: 2, StreamGroups: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := clusterv1.CheckDirectory(m); err != nil {
			t.Fatal(err)
		}
		damage(m)
		if err := clusterv1.CheckDirectory(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestFoundersAreTheFirstReplicas(t *testing.T) {
	m, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: "c", Node: &clusterv1.Node{NodeId: "n"}, Peers: []*clusterv1.Node{{NodeId: "z"}, {NodeId: "m"}}, Groups: 2, StreamGroups: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"m", "n", "z"} {
		if m.Nodes[i].NodeId != id {
			t.Errorf("node %d is %q", i, m.Nodes[i].NodeId)
		}
	}
	for _, group := range m.Groups {
		if len(group.Founders) != 3 || len(group.Voters()) != 3 {
			t.Errorf("group %d: %v, founded by %v", group.GroupId, group.Replicas, group.Founders)
		}
		for i, founder := range group.Founders {
			if !proto.Equal(founder, group.Replicas[i]) || founder == group.Replicas[i] {
				t.Errorf("group %d: founder %v, replica %v", group.GroupId, founder, group.Replicas[i])
			}
		}
	}
	if m.Cluster.NextReplicaId != 10 || m.Cluster.NextOperationId != 1 {
		t.Errorf("next ids: %v", m.Cluster)
	}
	many := clusterv1.InitialLayout{Node: &clusterv1.Node{}, Peers: make([]*clusterv1.Node, clusterv1.MaxReplicas), Groups: 1, StreamGroups: 1}
	if _, err := clusterv1.NewRangeMap(many); err == nil {
		t.Error("a group has more than MaxReplicas")
	}
}
