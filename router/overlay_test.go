package router

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

const tenantSpace = clusterv1.Keyspace_KEYSPACE_TENANT

func TestLearnSameKnowledgeKeepsTheMap(t *testing.T) {
	m := mapOf(t, 4, 2, 1)
	learnt, err := learn(m, m.Proto().GetRanges())
	if err != nil || learnt != m {
		t.Fatalf("got %p, %v, want the same map %p", learnt, err, m)
	}
}

func TestLearnNeverGoesBack(t *testing.T) {
	m := mapOf(t, 2, 1, 1)
	r := m.Lookup(tenantSpace, 0)
	newer := proto.Clone(r).(*clusterv1.Range)
	newer.GroupId, newer.Epoch = 3, 5
	ahead, err := learn(m, []*clusterv1.Range{newer})
	if err != nil {
		t.Fatal(err)
	}
	if got := ahead.Lookup(tenantSpace, 0).GetGroupId(); got != 3 {
		t.Fatalf("group %d owns point 0, want 3", got)
	}
	back, err := learn(ahead, []*clusterv1.Range{r})
	if err != nil || back != ahead {
		t.Fatalf("an older descriptor changed the map: %v, %v", back.Proto().GetRanges(), err)
	}
	rival := proto.Clone(newer).(*clusterv1.Range)
	rival.GroupId = 2
	tie, err := learn(ahead, []*clusterv1.Range{rival})
	if err != nil || tie != ahead {
		t.Fatalf("a descriptor of the same epoch changed the map: %v, %v", tie.Proto().GetRanges(), err)
	}
}

func TestLearnUnknownGroupIsAnError(t *testing.T) {
	m := mapOf(t, 2, 1, 1)
	_, err := learn(m, []*clusterv1.Range{{RangeId: 9, Keyspace: tenantSpace, GroupId: 99, Epoch: 9}})
	if err == nil {
		t.Fatal("learnt a range of an unknown group")
	}
}

func TestLearnIgnoresNonsense(t *testing.T) {
	m := mapOf(t, 2, 1, 1)
	for name, hint := range map[string]*clusterv1.Range{
		"empty span":  {Keyspace: tenantSpace, Lo: 9, Hi: 9, GroupId: 3, Epoch: 9},
		"reversed":    {Keyspace: tenantSpace, Lo: 9, Hi: 5, GroupId: 3, Epoch: 9},
		"no keyspace": {Lo: 1, Hi: 5, GroupId: 3, Epoch: 9},
		"nil":         nil,
	} {
		if learnt, err := learn(m, []*clusterv1.Range{hint}); err != nil || learnt != m {
			t.Errorf("%s: changed the map: %v", name, err)
		}
	}
}

// At every point the higher epoch wins, whatever the borders; the result is a
// valid map, which NewMap checks.
func TestLearnIsThePointwiseMaximum(t *testing.T) {
	border := rapid.OneOf(rapid.Uint64(), rapid.Map(rapid.Uint64Range(0, 16), func(n uint64) uint64 { return n << 60 }))
	hint := rapid.Custom(func(t *rapid.T) *clusterv1.Range {
		return &clusterv1.Range{
			RangeId: 100, Keyspace: clusterv1.Keyspace(rapid.IntRange(1, 2).Draw(t, "keyspace")),
			Lo: border.Draw(t, "lo"), Hi: border.Draw(t, "hi"),
			GroupId: rapid.Uint64Range(2, 5).Draw(t, "group"), Epoch: rapid.Uint64Range(0, 4).Draw(t, "epoch"),
		}
	})
	start := mapOf(t, 4, 2, 1)
	rapid.Check(t, func(t *rapid.T) {
		m := start
		for range 3 {
			hints := rapid.SliceOfN(hint, 1, 4).Draw(t, "hints")
			learnt, err := learn(m, hints)
			if err != nil {
				t.Fatal(err)
			}
			points := rapid.SliceOfN(border, 1, 10).Draw(t, "points")
			for _, r := range hints {
				points = append(points, r.GetLo(), r.GetHi(), r.GetLo()-1, r.GetHi()-1)
			}
			for _, keyspace := range []clusterv1.Keyspace{1, 2} {
				for _, point := range points {
					want := m.Lookup(keyspace, point)
					for _, r := range hints {
						valid := (&clusterv1.RangeRef{Keyspace: r.GetKeyspace(), Lo: r.GetLo(), Hi: r.GetHi()}).Valid()
						if valid && r.GetKeyspace() == keyspace && r.Contains(point) && r.GetEpoch() > want.GetEpoch() {
							want = r
						}
					}
					got := learnt.Lookup(keyspace, point)
					if got.GetEpoch() != want.GetEpoch() || got.GetGroupId() != want.GetGroupId() {
						t.Fatalf("point %x: got %v, want %v", point, got, want)
					}
				}
			}
			m = learnt
		}
	})
}

func TestSucceedKeepsGroupsThatAreAhead(t *testing.T) {
	old := mapOf(t, 2, 1, 1)
	moved := proto.Clone(old.Lookup(tenantSpace, 0)).(*clusterv1.Range)
	moved.GroupId, moved.Epoch = 3, 7
	ahead, err := learn(old, []*clusterv1.Range{moved})
	if err != nil {
		t.Fatal(err)
	}
	source := proto.Clone(old.Proto()).(*clusterv1.RangeMap)
	source.Cluster.MapVersion = 2
	source.Nodes = append(source.Nodes, &clusterv1.Node{NodeId: "n9"})
	merged, err := succeed(ahead, newMap(t, source))
	if err != nil {
		t.Fatal(err)
	}
	if merged.Version() != 2 || merged.Node("n9") == nil {
		t.Errorf("the newer version's nodes are missing")
	}
	if got := merged.Lookup(tenantSpace, 0); got.GetEpoch() != 7 || got.GetGroupId() != 3 {
		t.Errorf("went back to %v", got)
	}
	// An older map adds nothing but higher epochs.
	again, err := succeed(merged, old)
	if err != nil || again != merged {
		t.Errorf("an older map changed a newer one: %v", err)
	}
}

func TestSucceedRefusesAnotherCluster(t *testing.T) {
	m := mapOf(t, 1, 1, 1)
	other := proto.Clone(m.Proto()).(*clusterv1.RangeMap)
	other.Cluster.ClusterId, other.Cluster.MapVersion = "other", 9
	if _, err := succeed(m, newMap(t, other)); !errors.Is(err, ErrOtherCluster) {
		t.Fatalf("got %v, want ErrOtherCluster", err)
	}
}
