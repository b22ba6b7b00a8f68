package router

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// ErrOtherCluster tells that a node's map belongs to another cluster.
var ErrOtherCluster = errors.New("range map of another cluster")

// learn lays descriptors over a map: at every point of the space the one with
// the higher epoch wins, and the map wins a tie. So a lagging replica's hint
// never displaces newer knowledge. What is left of a range that was cut keeps
// its old epoch: if it is wrong, its group will say so.
//
// It returns the map itself if no point changed its owner or epoch.
func learn(m *clusterv1.Map, hints []*clusterv1.Range) (*clusterv1.Map, error) {
	source := m.Proto()
	tenants, tenantsChanged := overlay(m.Ranges(clusterv1.Keyspace_KEYSPACE_TENANT), in(hints, clusterv1.Keyspace_KEYSPACE_TENANT))
	streams, streamsChanged := overlay(m.Ranges(clusterv1.Keyspace_KEYSPACE_STREAM), in(hints, clusterv1.Keyspace_KEYSPACE_STREAM))
	if !tenantsChanged && !streamsChanged {
		return m, nil
	}
	learnt, err := clusterv1.NewMap(&clusterv1.RangeMap{
		Cluster: source.GetCluster(), Nodes: source.GetNodes(), Groups: source.GetGroups(),
		Ranges: slices.Concat(tenants, streams),
	})
	if err != nil {
		return nil, fmt.Errorf("apply the groups' descriptors: %w", err)
	}
	return learnt, nil
}

// succeed merges a map read from a node with the one in use. The newer version
// gives nodes and groups, the higher epoch gives the ranges: a data group's own
// descriptors may be ahead of the directory.
func succeed(current, fetched *clusterv1.Map) (*clusterv1.Map, error) {
	if current == nil {
		return fetched, nil
	}
	if have, got := current.Proto().GetCluster().GetClusterId(), fetched.Proto().GetCluster().GetClusterId(); have != got {
		return nil, fmt.Errorf("%w: %q, want %q", ErrOtherCluster, got, have)
	}
	older, newer := current, fetched
	if fetched.Version() <= current.Version() {
		older, newer = fetched, current
	}
	merged, err := learn(newer, older.Proto().GetRanges())
	if err != nil {
		// A range of the older map is ahead, but its group is gone from the newer.
		return newer, nil
	}
	return merged, nil
}

func in(ranges []*clusterv1.Range, keyspace clusterv1.Keyspace) []*clusterv1.Range {
	var found []*clusterv1.Range
	for _, r := range ranges {
		ref := &clusterv1.RangeRef{Keyspace: r.GetKeyspace(), Lo: r.GetLo(), Hi: r.GetHi()}
		if r.GetKeyspace() == keyspace && ref.Valid() && r.GetEpoch() > 0 {
			found = append(found, r)
		}
	}
	return found
}

// overlay cuts the space at every border of base and hints and chooses the
// winner of each elementary span, then joins neighbours with the same winner.
func overlay(base, hints []*clusterv1.Range) (result []*clusterv1.Range, changed bool) {
	if len(hints) == 0 {
		return base, false
	}
	cuts := make([]uint64, 0, len(base)+2*len(hints))
	for _, r := range base {
		cuts = append(cuts, r.GetLo())
	}
	for _, r := range hints {
		// A hi of 0 is the end of the space; as a cut it is the beginning,
		// which base has anyway.
		cuts = append(cuts, r.GetLo(), r.GetHi())
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)

	winners := winners(cuts, base, hints)
	for i := 0; i < len(cuts); {
		next := i + 1
		for next < len(cuts) && winners[next] == winners[i] {
			next++
		}
		hi := uint64(0)
		if next < len(cuts) {
			hi = cuts[next]
		}
		result = append(result, trimmed(winners[i], cuts[i], hi))
		i = next
	}
	if len(result) == len(base) && slices.EqualFunc(result, base, func(a, b *clusterv1.Range) bool { return a == b }) {
		return base, false
	}
	return result, true
}

// winners tells for each elementary span which range it belongs to.
func winners(cuts []uint64, base, hints []*clusterv1.Range) []*clusterv1.Range {
	result := make([]*clusterv1.Range, len(cuts))
	at := 0
	for i, cut := range cuts {
		for at+1 < len(base) && base[at+1].GetLo() <= cut {
			at++
		}
		result[i] = base[at]
	}
	for _, hint := range hints {
		i, _ := slices.BinarySearch(cuts, hint.GetLo())
		for ; i < len(cuts) && hint.Contains(cuts[i]); i++ {
			if hint.GetEpoch() > result[i].GetEpoch() {
				result[i] = hint
			}
		}
	}
	return result
}

func trimmed(r *clusterv1.Range, lo, hi uint64) *clusterv1.Range {
	if r.GetLo() == lo && r.GetHi() == hi {
		return r
	}
	part := proto.Clone(r).(*clusterv1.Range)
	part.Lo, part.Hi = lo, hi
	return part
}
