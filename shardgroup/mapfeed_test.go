package shardgroup

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// A watcher gets each change that it lacks, or the whole map if it is too far behind;
// a map that could not be kept is not shown.
func TestMapFeed(t *testing.T) {
	var fault error
	feed := newMapFeed(func(*clusterv1.RangeMap) error { return fault })
	if updates, version, _ := feed.since(0); len(updates) != 0 || version != 0 {
		t.Errorf("updates of no map: %v", updates)
	}
	m := foundingOf(t, 1)
	first := m.GetCluster().GetMapVersion()
	offer := func(version uint64) {
		m = proto.CloneOf(m)
		m.Cluster.MapVersion = version
		if err := feed.offer(m); err != nil {
			t.Fatal(err)
		}
	}
	offer(first)
	_, changed := feed.get()
	offer(first) // not younger
	select {
	case <-changed:
		t.Error("the same map is told again")
	default:
	}
	offer(first + 2)
	<-changed
	for version, want := range map[uint64]int{first: 1, first + 2: 0} {
		updates, now, _ := feed.since(version)
		if len(updates) != want || now != first+2 || want > 0 && updates[0].GetDelta() == nil {
			t.Errorf("since %d: %v, %d", version, updates, now)
		}
	}
	for i := range uint64(deltasKept) {
		offer(first + 3 + i)
	}
	last := first + 2 + deltasKept
	if updates, now, _ := feed.since(first); len(updates) != 1 || updates[0].GetSnapshot() == nil || now != last {
		t.Errorf("a slow watcher got %d updates, at %d", len(updates), now)
	}
	if updates, _, _ := feed.since(first + 2); len(updates) != deltasKept {
		t.Errorf("a watcher got %d changes, want %d", len(updates), deltasKept)
	}
	fault = errors.New("no space")
	m = proto.CloneOf(m)
	m.Cluster.MapVersion = last + 1
	if err := feed.offer(m); !errors.Is(err, fault) || feed.version() != last {
		t.Errorf("a map that was not kept: %v, version %d", err, feed.version())
	}
}
