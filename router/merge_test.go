package router

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

func TestMergeBlocksAgainstASortedSlice(t *testing.T) {
	block := rapid.Custom(func(t *rapid.T) *nodev1.EncodedBlock {
		return &nodev1.EncodedBlock{
			Tenant: rapid.SampledFrom([]string{"", "a", "ab", "b"}).Draw(t, "tenant"),
			Shard:  rapid.Uint32Range(0, 2).Draw(t, "shard"),
			Id:     blockID(rapid.IntRange(0, 5).Draw(t, "id")),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		lists := rapid.SliceOfN(rapid.SliceOfN(block, 0, 12), 0, 6).Draw(t, "lists")
		for _, list := range lists {
			slices.SortFunc(list, compareBlocks)
		}
		want := slices.Concat(lists...)
		slices.SortStableFunc(want, compareBlocks)
		want = slices.CompactFunc(want, func(a, b *nodev1.EncodedBlock) bool { return compareBlocks(a, b) == 0 })
		got := mergeBlocks(lists)
		if !slices.EqualFunc(got, want, func(a, b *nodev1.EncodedBlock) bool { return compareBlocks(a, b) == 0 }) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestMergeLabelsOrder(t *testing.T) {
	set := func(pairs ...string) *typesv1.Labels {
		labels := &typesv1.Labels{}
		for i := 0; i < len(pairs); i += 2 {
			labels.Labels = append(labels.Labels, &typesv1.LabelPair{Name: pairs[i], Value: pairs[i+1]})
		}
		return labels
	}
	want := []*typesv1.Labels{
		set(), set("a", ""), set("a", "1"), set("a", "1", "b", "0"), set("a", "2"), set("a", "\xff"), set("b", ""),
	}
	mixed := []*typesv1.Labels{want[6], want[2], want[4], want[0], want[3], want[1], want[5], set("a", "1"), set(), set("b", "")}
	got := mergeLabels(mixed)
	if !slices.EqualFunc(got, want, func(a, b *typesv1.Labels) bool { return compareLabels(a, b) == 0 }) {
		t.Fatalf("got %v, want %v", got, want)
	}
}
