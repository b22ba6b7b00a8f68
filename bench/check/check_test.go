package check_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/bench/check"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// block has a dataset of a with two sets of labels at 10 to 20, and one of b at 15 to 30.
func block() *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{
		Id: "01M80E7JAR10CSPS1GYJMT6K45", Shard: 2, MinTime: 10, MaxTime: 30, CreatedBy: 1, Size: 100,
		StringTable: []string{"", "writer", "a", "b", "service", "x", "type", "cpu", "heap"},
		Datasets: []*metastorev1.Dataset{
			{Tenant: 2, Name: 5, MinTime: 10, MaxTime: 20, Size: 7, TableOfContents: []uint64{1, 2}, Labels: []int32{2, 4, 5, 6, 7, 2, 4, 5, 6, 8}},
			{Tenant: 3, Name: 5, MinTime: 15, MaxTime: 30, Size: 8, Labels: []int32{1, 4, 5}},
			{Tenant: 2, Name: 5, MinTime: 10, MaxTime: 20}, // without labels nothing finds it
		},
	}
}

func TestSelect(t *testing.T) {
	heap := []check.Matcher{{Name: "type", Value: "heap"}}
	for name, c := range map[string]struct {
		query check.Query
		// The labels of datasets that are found, by tenant.
		want map[string][]int32
	}{
		"begins at the end":     {check.Query{Tenants: []string{"a", "b"}, From: 20, To: 50}, map[string][]int32{"a": nil, "b": nil}},
		"ends at the begin":     {check.Query{Tenants: []string{"a", "b"}, From: 0, To: 10}, map[string][]int32{"a": nil}},
		"too late":              {check.Query{Tenants: []string{"a"}, From: 21, To: 50}, nil},
		"another tenant":        {check.Query{Tenants: []string{"c", ""}, From: 0, To: 50}, nil},
		"one set matches":       {check.Query{Tenants: []string{"a", "b"}, From: 0, To: 50, Matchers: heap, Labels: []string{"type", "service"}}, map[string][]int32{"a": {2, 6, 8, 4, 5}}},
		"sets lose what is not": {check.Query{Tenants: []string{"a"}, From: 0, To: 50, Labels: []string{"nothing"}}, map[string][]int32{"a": {0, 0}}},
	} {
		got := map[string][]int32{}
		found := c.query.Select(block())
		for _, d := range found.GetDatasets() {
			got[found.StringAt(d.Tenant)] = d.Labels
		}
		if c.want == nil {
			c.want = map[string][]int32{}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	q := check.Query{Matchers: []check.Matcher{{Name: "a", Value: "b"}, {Name: "c", Value: "d"}}}
	if got := q.Selector(); got != `{a="b",c="d"}` {
		t.Error(got)
	}
}

// Whatever a block says is in its hash; how its strings are numbered is not.
func TestHash(t *testing.T) {
	h := check.NewHasher()
	want := h.Block(block())
	other := block()
	other.StringTable = append(other.StringTable, "a", "unused")
	other.Datasets[0].Tenant, other.Datasets[2].Tenant = 9, 9
	if h.Block(other) != want {
		t.Error("numbering matters")
	}
	for name, change := range map[string]func(*metastorev1.BlockMeta){
		"id": func(b *metastorev1.BlockMeta) { b.Id = "01M80E7JAR10CSPS1GYJMT6K46" }, "shard": func(b *metastorev1.BlockMeta) { b.Shard++ },
		"tenant": func(b *metastorev1.BlockMeta) { b.Tenant = 2 }, "time": func(b *metastorev1.BlockMeta) { b.MaxTime++ },
		"writer": func(b *metastorev1.BlockMeta) { b.CreatedBy = 0 }, "level": func(b *metastorev1.BlockMeta) { b.CompactionLevel++ },
		"offset": func(b *metastorev1.BlockMeta) { b.MetadataOffset++ }, "version": func(b *metastorev1.BlockMeta) { b.FormatVersion++ },
		"dataset lost": func(b *metastorev1.BlockMeta) { b.Datasets = b.Datasets[:2] },
		"dataset size": func(b *metastorev1.BlockMeta) { b.Datasets[1].Size++ }, "dataset time": func(b *metastorev1.BlockMeta) { b.Datasets[1].MinTime++ },
		"order":    func(b *metastorev1.BlockMeta) { b.Datasets[0], b.Datasets[1] = b.Datasets[1], b.Datasets[0] },
		"contents": func(b *metastorev1.BlockMeta) { b.Datasets[0].TableOfContents[1]++ }, "format": func(b *metastorev1.BlockMeta) { b.Datasets[0].Format = 1 },
		"label": func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels[4] = 8 }, "sets": func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels = b.Datasets[0].Labels[:5] },
		// A wrong answer may hold anything.
		"broken labels": func(b *metastorev1.BlockMeta) { b.Datasets[0].Labels = []int32{-5, 99, 3} },
	} {
		changed := proto.CloneOf(block())
		change(changed)
		if h.Block(changed) == want {
			t.Errorf("%s is not in the hash", name)
		}
	}
}

func TestLabelSets(t *testing.T) {
	sets := check.NewLabelSets(check.Query{Tenants: []string{"a", "b"}, From: 0, To: 50, Labels: []string{"service", "type"}})
	sets.Add(block())
	sets.Add(block())
	var want check.Digest
	h := check.NewHasher()
	for _, kind := range []string{"cpu", "heap", ""} {
		want.Add(h.Labels(&typesv1.Labels{Labels: []*typesv1.LabelPair{{Name: "service", Value: "x"}, {Name: "type", Value: kind}}}))
	}
	if got := sets.Digest(); got != want || got.Count != 3 {
		t.Errorf("%v, want %v", got, want)
	}
}
