package clusterv1

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Diff returns what leads from one map of a directory to another, of the same
// cluster. The delta shares records with the maps: none may be changed.
func Diff(old, new *RangeMap) *MapDelta {
	d := &MapDelta{FromVersion: old.GetCluster().GetMapVersion(), Cluster: new.GetCluster()}
	d.Nodes, d.RemovedNodes = diff(old.GetNodes(), new.GetNodes(), (*Node).GetNodeId)
	d.Groups, d.RemovedGroups = diff(old.GetGroups(), new.GetGroups(), (*Group).GetGroupId)
	d.Ranges, d.RemovedRanges = diff(old.GetRanges(), new.GetRanges(), (*Range).GetRangeId)
	return d
}

// Apply returns the map that a delta leads to. The old map is left as it is and
// shares records with the new one: none may be changed. A delta of another
// cluster, from another version, or that removes what is not there is refused:
// ask for the whole map then. Whether the result is valid is for NewMap to say.
func Apply(old *RangeMap, delta *MapDelta) (*RangeMap, error) {
	was, is := old.GetCluster(), delta.GetCluster()
	switch {
	case is == nil:
		return nil, fmt.Errorf("map delta: no cluster record")
	case was.GetClusterId() != is.GetClusterId():
		return nil, fmt.Errorf("map delta: of cluster %q, this is a map of cluster %q", is.GetClusterId(), was.GetClusterId())
	case was.GetMapVersion() != delta.GetFromVersion():
		return nil, fmt.Errorf("map delta: from version %d, this is version %d", delta.GetFromVersion(), was.GetMapVersion())
	case is.GetMapVersion() < was.GetMapVersion():
		return nil, fmt.Errorf("map delta: leads back from version %d to %d", was.GetMapVersion(), is.GetMapVersion())
	}
	m := &RangeMap{Cluster: is}
	var err error
	if m.Nodes, err = patch(old.GetNodes(), delta.GetNodes(), delta.GetRemovedNodes(), (*Node).GetNodeId); err != nil {
		return nil, fmt.Errorf("map delta: node %w", err)
	}
	if m.Groups, err = patch(old.GetGroups(), delta.GetGroups(), delta.GetRemovedGroups(), (*Group).GetGroupId); err != nil {
		return nil, fmt.Errorf("map delta: group %w", err)
	}
	if m.Ranges, err = patch(old.GetRanges(), delta.GetRanges(), delta.GetRemovedRanges(), (*Range).GetRangeId); err != nil {
		return nil, fmt.Errorf("map delta: range %w", err)
	}
	SortRanges(m.Ranges)
	return m, nil
}

// SortRanges puts ranges in a map's order: by keyspace, then by their points.
func SortRanges(ranges []*Range) {
	slices.SortFunc(ranges, func(a, b *Range) int {
		return cmp.Or(cmp.Compare(a.GetKeyspace(), b.GetKeyspace()), cmp.Compare(a.GetLo(), b.GetLo()))
	})
}

func diff[R proto.Message, K cmp.Ordered](old, new []R, key func(R) K) (changed []R, removed []K) {
	before := map[K]R{}
	for _, record := range old {
		before[key(record)] = record
	}
	for _, record := range new {
		k := key(record)
		if was, known := before[k]; !known || !proto.Equal(was, record) {
			changed = append(changed, record)
		}
		delete(before, k)
	}
	for k := range before {
		removed = append(removed, k)
	}
	slices.Sort(removed)
	return changed, removed
}

func patch[R any, K cmp.Ordered](old, changed []R, removed []K, key func(R) K) ([]R, error) {
	records := make(map[K]R, len(old)+len(changed))
	for _, record := range old {
		records[key(record)] = record
	}
	for _, k := range removed {
		if _, known := records[k]; !known {
			return nil, fmt.Errorf("%v is removed and was not there", k)
		}
		delete(records, k)
	}
	for _, record := range changed {
		records[key(record)] = record
	}
	var patched []R
	for _, record := range records {
		patched = append(patched, record)
	}
	slices.SortFunc(patched, func(a, b R) int { return cmp.Compare(key(a), key(b)) })
	return patched, nil
}
