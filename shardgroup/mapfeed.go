package shardgroup

import (
	"sync"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// deltasKept bounds how far behind a watcher may be and still be sent changes
// instead of the whole map.
const deltasKept = 128

// mapFeed keeps the node's copy of the map and hands on what changes. Versions
// only grow. Safe for concurrent use.
type mapFeed struct {
	// save makes a map durable; it is called before anybody sees the map.
	save func(*clusterv1.RangeMap) error

	offering sync.Mutex // one offer at a time

	mu      sync.Mutex
	current *clusterv1.Map
	deltas  []*clusterv1.MapDelta // each follows the one before
	changed chan struct{}         // closed with the next change
}

func newMapFeed(save func(*clusterv1.RangeMap) error) *mapFeed {
	return &mapFeed{save: save, changed: make(chan struct{})}
}

// get returns the map, or nil, and a channel that is closed when it changes.
func (f *mapFeed) get() (*clusterv1.Map, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current, f.changed
}

// known returns the map, or nil.
func (f *mapFeed) known() *clusterv1.Map {
	m, _ := f.get()
	return m
}

// version is 0 without a map.
func (f *mapFeed) version() uint64 {
	if m := f.known(); m != nil {
		return m.Version()
	}
	return 0
}

// offer takes a map if it is younger than the one at hand.
func (f *mapFeed) offer(source *clusterv1.RangeMap) error {
	f.offering.Lock()
	defer f.offering.Unlock()
	before := f.known()
	if before != nil && source.GetCluster().GetMapVersion() <= before.Version() {
		return nil
	}
	m, err := clusterv1.NewMap(source)
	if err != nil {
		return err
	}
	if err := f.save(source); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = m
	if before != nil {
		f.deltas = append(f.deltas, clusterv1.Diff(before.Proto(), source))
		if len(f.deltas) > deltasKept {
			f.deltas = f.deltas[len(f.deltas)-deltasKept:]
		}
	}
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// since returns what a watcher at a version lacks, oldest first, the version that
// it has then, and a channel that is closed when there is more.
func (f *mapFeed) since(version uint64) ([]*clusterv1.MapUpdate, uint64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == nil || f.current.Version() == version {
		return nil, version, f.changed
	}
	for i, delta := range f.deltas {
		if delta.GetFromVersion() != version {
			continue
		}
		var updates []*clusterv1.MapUpdate
		for _, delta := range f.deltas[i:] {
			updates = append(updates, &clusterv1.MapUpdate{Update: &clusterv1.MapUpdate_Delta{Delta: delta}})
		}
		return updates, f.current.Version(), f.changed
	}
	// A watcher that is ahead of us gets our map, too: it knows what to do with it.
	snapshot := &clusterv1.MapUpdate{Update: &clusterv1.MapUpdate_Snapshot{Snapshot: f.current.Proto()}}
	return []*clusterv1.MapUpdate{snapshot}, f.current.Version(), f.changed
}
