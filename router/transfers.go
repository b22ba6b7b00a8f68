package router

import (
	"cmp"
	"maps"
	"slices"
	"sort"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// transferPair is what transfers are numbered for: a stream's shard and a tenant.
type transferPair struct {
	stream uint32
	tenant string
}

// source and destination are the points that hold the pair's data.
func (p transferPair) source() span      { return pointSpan("", p.stream) }
func (p transferPair) destination() span { return pointSpan(p.tenant, p.stream) }

// watermark is a number of a transfer. Numbers begin anew with each incarnation
// of a stream. The zero watermark is below all others.
type watermark struct{ incarnation, number uint64 }

func (w watermark) less(other watermark) bool {
	return cmp.Or(cmp.Compare(w.incarnation, other.incarnation), cmp.Compare(w.number, other.number)) < 0
}

func issuedOf(row *nodev1.IssuedWatermark) watermark {
	return watermark{row.GetIncarnation(), row.GetIssued()}
}

// finishedOf is 0 if the stream, in this incarnation, did not finish any: that
// says nothing about what was accepted before.
func finishedOf(row *nodev1.IssuedWatermark) watermark {
	if row.GetFinished() == 0 {
		return watermark{}
	}
	return watermark{row.GetIncarnation(), row.GetFinished()}
}

func acceptedOf(row *nodev1.AcceptedWatermark) watermark {
	return watermark{row.GetIncarnation(), row.GetAccepted()}
}

// watermarks are those of all parts that a query has read.
type watermarks struct {
	issued   []*nodev1.IssuedWatermark
	accepted []*nodev1.AcceptedWatermark
}

func (w *watermarks) add(more *nodev1.Watermarks) {
	w.issued = append(w.issued, more.GetIssued()...)
	w.accepted = append(w.accepted, more.GetAccepted()...)
}

// forget drops the watermarks that lie in the spans.
func (w *watermarks) forget(spans spanSet) {
	w.issued = slices.DeleteFunc(w.issued, func(row *nodev1.IssuedWatermark) bool {
		return spans.holds(clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.StreamPoint(row.GetStream()))
	})
	w.accepted = slices.DeleteFunc(w.accepted, func(row *nodev1.AcceptedWatermark) bool {
		return spans.holds(clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.TenantPoint(row.GetTenant(), row.GetStream()))
	})
}

// acceptedByPair has no entry where nothing was accepted. A point is read once,
// so no pair has two.
func (w *watermarks) acceptedByPair() map[transferPair]watermark {
	found := make(map[transferPair]watermark, len(w.accepted))
	for _, row := range w.accepted {
		found[transferPair{row.GetStream(), row.GetTenant()}] = acceptedOf(row)
	}
	return found
}

func (w *watermarks) issuedByPair() map[transferPair]*nodev1.IssuedWatermark {
	found := make(map[transferPair]*nodev1.IssuedWatermark, len(w.issued))
	for _, row := range w.issued {
		found[transferPair{row.GetStream(), row.GetTenant()}] = row
	}
	return found
}

// stale are the points that were read too early to fit to what was read of the
// other side, each once and in order.
type stale struct{ streams, tenants []span }

func (s stale) spans() []span { return slices.Concat(s.streams, s.tenants) }

// stale compares both sides of each pair (see DESIGN.md, Consistency):
//
//	finished ≤ accepted ≤ issued
//
// Below, data was gone from the stream before, and came to the tenant after it
// was read. Above, the tenant has what the stream still held as segments. If it
// does not matter how often data is read, the upper bound is of no interest.
func (w *watermarks) stale(twiceMatters bool) stale {
	streams, tenants := map[span]bool{}, map[span]bool{}
	accepted := w.acceptedByPair()
	for _, row := range w.issued {
		pair := transferPair{row.GetStream(), row.GetTenant()}
		if accepted[pair].less(finishedOf(row)) {
			tenants[pair.destination()] = true
		}
	}
	if twiceMatters && len(accepted) > 0 {
		issued := w.issuedByPair()
		for pair, at := range accepted {
			if issuedOf(issued[pair]).less(at) {
				streams[pair.source()] = true
			}
		}
	}
	return stale{sortedSpans(streams), sortedSpans(tenants)}
}

func sortedSpans(set map[span]bool) []span {
	return slices.SortedFunc(maps.Keys(set), func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
}

// spanSet finds points in spans that do not overlap.
type spanSet map[clusterv1.Keyspace][]span

func newSpanSet(spans []span) spanSet {
	set := spanSet{}
	for _, s := range spans {
		set[s.keyspace] = append(set[s.keyspace], s)
	}
	for _, list := range set {
		slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	}
	return set
}

func (s spanSet) holds(keyspace clusterv1.Keyspace, point uint64) bool {
	list := s[keyspace]
	i := sort.Search(len(list), func(i int) bool { return list[i].lo > point })
	// A hi of 0 wraps to the last point.
	return i > 0 && point <= list[i-1].hi-1
}
