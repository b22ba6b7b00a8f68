package ranges

import (
	"math/rand/v2"
	"slices"
	"testing"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// The search finds what a look at each row finds, with holes and at both ends of
// the space.
func TestCheckAgainstScan(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		var rows []*clusterv1.Range
		for keyspace := clusterv1.Keyspace(1); keyspace <= 2; keyspace++ {
			var cuts []uint64
			for range random.IntN(12) {
				cuts = append(cuts, random.Uint64N(40)*uint64(len(cuts)%2*2-1)) // near both ends
			}
			cuts = append(cuts, 0)
			slices.Sort(cuts)
			cuts = slices.Compact(cuts)
			for i, lo := range cuts {
				if random.IntN(5) > 0 { // else a hole
					rows = append(rows, &clusterv1.Range{Keyspace: keyspace, Lo: lo, Hi: append(cuts, 0)[i+1], Epoch: 1 + random.Uint64N(3)})
				}
			}
		}
		random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		table := newTable(slices.Clone(rows))
		for range 200 {
			ref := &clusterv1.RangeRef{
				Keyspace: clusterv1.Keyspace(random.IntN(4)), Epoch: random.Uint64N(4),
				Lo: random.Uint64N(80) - 40, Hi: random.Uint64N(80) - 40,
			}
			if ref.GetHi() != 0 && ref.GetHi() <= ref.GetLo() {
				continue
			}
			got, want := table.Check(ref), scan(rows, ref)
			if got.GetReason() != want.GetReason() || !slices.Equal(got.GetCurrent(), want.GetCurrent()) {
				t.Fatalf("%v among %v: %v, want %v", ref, table.rows, got, want)
			}
		}
	}
}

func scan(rows []*clusterv1.Range, ref *clusterv1.RangeRef) *clusterv1.RouteError {
	var overlapping []*clusterv1.Range
	for _, row := range rows {
		switch {
		case !row.Covers(ref):
		case row.GetEpoch() == ref.GetEpoch():
			return nil
		case row.GetEpoch() < ref.GetEpoch():
			return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_EPOCH_AHEAD}
		default:
			return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_STALE_EPOCH, Current: []*clusterv1.Range{row}}
		}
		if row.Overlaps(ref) {
			overlapping = append(overlapping, row)
		}
	}
	clusterv1.SortRanges(overlapping)
	return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_NOT_OWNER, Current: overlapping}
}
