package delivery

import (
	"slices"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// hintsMax bounds what is kept beside a map.
const hintsMax = 1024

// Hints are ranges that groups told of, as far as they are younger than the map.
// The zero value has none.
type Hints struct{ ranges []*clusterv1.Range }

// Learn takes ranges that a refusal told of.
func (h *Hints) Learn(ranges []*clusterv1.Range) {
	for _, r := range ranges {
		if r == nil || r.GetKeyspace() != clusterv1.Keyspace_KEYSPACE_TENANT {
			continue
		}
		older := func(known *clusterv1.Range) bool {
			return known.GetEpoch() <= r.GetEpoch() && known.Overlaps(refOf(r))
		}
		if slices.ContainsFunc(h.ranges, func(known *clusterv1.Range) bool {
			return known.GetEpoch() > r.GetEpoch() && known.Overlaps(refOf(r))
		}) {
			continue
		}
		h.ranges = append(slices.DeleteFunc(h.ranges, older), r)
	}
	if len(h.ranges) > hintsMax {
		h.ranges = slices.Delete(h.ranges, 0, len(h.ranges)-hintsMax)
	}
}

// Route returns the routes of a map and the hints that are younger; hints that the
// map has caught up with are forgotten.
func (h *Hints) Route(m *clusterv1.Map) Route {
	h.ranges = slices.DeleteFunc(h.ranges, func(r *clusterv1.Range) bool {
		known := m.Lookup(r.GetKeyspace(), r.GetLo())
		return known.GetEpoch() >= r.GetEpoch()
	})
	return func(pair Pair) (uint64, *clusterv1.RangeRef, bool) {
		point := clusterv1.TenantPoint(pair.Tenant, pair.Stream)
		r := m.Lookup(clusterv1.Keyspace_KEYSPACE_TENANT, point)
		for _, hint := range h.ranges {
			if hint.Contains(point) && hint.GetEpoch() > r.GetEpoch() {
				r = hint
			}
		}
		if r == nil {
			return 0, nil, false
		}
		return r.GetGroupId(), refOf(r), true
	}
}

func refOf(r *clusterv1.Range) *clusterv1.RangeRef {
	return &clusterv1.RangeRef{Keyspace: r.GetKeyspace(), Lo: r.GetLo(), Hi: r.GetHi(), Epoch: r.GetEpoch()}
}
