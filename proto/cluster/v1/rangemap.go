package clusterv1

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// Map is a validated, immutable index of a RangeMap. Share it freely.
type Map struct {
	source  *RangeMap
	tenants []*Range
	streams []*Range
	groups  map[uint64]*Group
	nodes   map[string]*Node
}

// Piece is the part of a span that one range covers.
type Piece struct {
	GroupID uint64
	Ref     *RangeRef
}

// NewMap checks a map: each keyspace covered without hole or overlap, every
// range owned by a group that exists, every replica on a node that exists. The
// message must not be changed afterwards.
func NewMap(source *RangeMap) (*Map, error) {
	m := &Map{source: source, groups: map[uint64]*Group{}, nodes: map[string]*Node{}}
	if source.GetCluster() == nil {
		return nil, errors.New("range map: no cluster record")
	}
	for _, node := range source.GetNodes() {
		if id := node.GetNodeId(); id == "" || m.nodes[id] != nil {
			return nil, fmt.Errorf("range map: node id %q is empty or not unique", id)
		}
		m.nodes[node.GetNodeId()] = node
	}
	for _, group := range source.GetGroups() {
		if id := group.GetGroupId(); id == 0 || m.groups[id] != nil {
			return nil, fmt.Errorf("range map: group id %d is 0 or not unique", id)
		}
		m.groups[group.GetGroupId()] = group
		for _, replica := range group.GetReplicas() {
			if m.nodes[replica.GetNodeId()] == nil {
				return nil, fmt.Errorf("range map: group %d has a replica on unknown node %q", group.GetGroupId(), replica.GetNodeId())
			}
		}
	}
	for _, r := range source.GetRanges() {
		if m.groups[r.GetGroupId()] == nil {
			return nil, fmt.Errorf("range map: range %d is owned by unknown group %d", r.GetRangeId(), r.GetGroupId())
		}
		switch r.GetKeyspace() {
		case Keyspace_KEYSPACE_TENANT:
			m.tenants = append(m.tenants, r)
		case Keyspace_KEYSPACE_STREAM:
			m.streams = append(m.streams, r)
		default:
			return nil, fmt.Errorf("range map: range %d has no keyspace", r.GetRangeId())
		}
	}
	if err := checkCover(m.tenants); err != nil {
		return nil, fmt.Errorf("range map: TENANT keyspace: %w", err)
	}
	if err := checkCover(m.streams); err != nil {
		return nil, fmt.Errorf("range map: STREAM keyspace: %w", err)
	}
	return m, nil
}

// checkCover sorts the ranges and demands that they tile the whole space.
func checkCover(ranges []*Range) error {
	slices.SortFunc(ranges, func(a, b *Range) int { return cmp.Compare(a.GetLo(), b.GetLo()) })
	if len(ranges) == 0 || ranges[0].GetLo() != 0 {
		return errors.New("hole before the first range")
	}
	for i, r := range ranges {
		next := uint64(0)
		if i+1 < len(ranges) {
			next = ranges[i+1].GetLo()
		}
		if next <= r.GetLo() && i+1 < len(ranges) {
			return fmt.Errorf("ranges %d and %d both begin at %016x", r.GetRangeId(), ranges[i+1].GetRangeId(), next)
		}
		if r.GetHi() != next {
			return fmt.Errorf("range %d ends at %016x, but the next begins at %016x", r.GetRangeId(), r.GetHi(), next)
		}
		if r.GetEpoch() == 0 {
			return fmt.Errorf("range %d has no epoch", r.GetRangeId())
		}
	}
	return nil
}

// Proto returns the message the map was made of.
func (m *Map) Proto() *RangeMap { return m.source }

// Version grows with every change of the map.
func (m *Map) Version() uint64 { return m.source.GetCluster().GetMapVersion() }

// Group returns a group's record, or nil.
func (m *Map) Group(id uint64) *Group { return m.groups[id] }

// Node returns a node's record, or nil.
func (m *Map) Node(id string) *Node { return m.nodes[id] }

// Ranges returns the keyspace's ranges in order of their points.
func (m *Map) Ranges(keyspace Keyspace) []*Range {
	if keyspace == Keyspace_KEYSPACE_STREAM {
		return m.streams
	}
	return m.tenants
}

// Lookup returns the range that owns a point.
func (m *Map) Lookup(keyspace Keyspace, point uint64) *Range {
	ranges := m.Ranges(keyspace)
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].GetLo() > point })
	return ranges[i-1]
}

// Cover splits the span [lo, hi) into pieces of one range each; a hi of 0
// stands for the end of the space.
func (m *Map) Cover(keyspace Keyspace, lo, hi uint64) []Piece {
	last := lastPoint(hi)
	var pieces []Piece
	for {
		r := m.Lookup(keyspace, lo)
		end := min(lastPoint(r.GetHi()), last)
		pieces = append(pieces, Piece{r.GetGroupId(), &RangeRef{Keyspace: keyspace, Lo: lo, Hi: end + 1, Epoch: r.GetEpoch()}})
		if end == last {
			return pieces
		}
		lo = end + 1
	}
}
