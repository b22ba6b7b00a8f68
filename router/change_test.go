package router

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// change replaces the true map, as the directory and the groups do together.
func (c *fakeCluster) change(t testing.TB, edit func(*clusterv1.RangeMap)) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	source := proto.Clone(c.truth.Proto()).(*clusterv1.RangeMap)
	source.Cluster.MapVersion++
	edit(source)
	c.truth = newMap(t, source)
}

// A node is replaced by another one while requests run: none of them fails.
func TestNodeIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		c.watch("n1", "n2", "n3")
		r := c.start(t, Options{})
		var gone atomic.Bool
		c.setBefore(func(e entry) error {
			if gone.Load() && e.node == "n3" {
				return status.Error(codes.Unavailable, "connection refused")
			}
			return nil
		})
		var all sync.WaitGroup
		for i := range 300 {
			all.Go(func() {
				if err := addBlock(t.Context(), r, newBlock("acme", uint32(i), i)); err != nil {
					t.Error(err)
				}
				if _, err := query(t.Context(), r, "acme"); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(10 * time.Millisecond)
			switch i {
			case 100:
				gone.Store(true)
			case 200:
				c.change(t, func(m *clusterv1.RangeMap) {
					for _, node := range m.Nodes {
						if node.NodeId == "n3" {
							node.NodeId = "n4"
						}
					}
					for _, group := range m.Groups {
						for _, replica := range group.Replicas {
							if replica.NodeId == "n3" {
								replica.NodeId = "n4"
								replica.ReplicaId += 1000
							}
						}
					}
				})
				for _, w := range c.watchable {
					w.show(c.truth.Proto())
				}
			}
		}
		all.Wait()
		if got := asked(c.calls("AddBlock")); got["n4"] == 0 {
			t.Errorf("asked %v, the new node never", got)
		}
		time.Sleep(5 * time.Second)
		before := len(c.calls("Hello"))
		time.Sleep(20 * time.Second)
		for _, e := range c.calls("Hello")[before:] {
			if e.node == "n3" {
				t.Fatal("a node that left the map is still looked for")
			}
		}
	})
}

// Ranges split and merge while queries run: each answer has every block once.
func TestSplitAndMergeDuringQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 3)
		r := c.start(t, Options{})
		const blocks = 64
		for i := range blocks {
			c.add(newBlock("acme", uint32(i), i))
		}
		lo, _ := clusterv1.TenantSpan("acme")
		c.setBefore(func(e entry) error {
			if e.call == "QueryBlocks" {
				return wait(e.ctx, 3*time.Millisecond)
			}
			return nil
		})
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				ids, err := query(t.Context(), r, "acme")
				if err != nil || len(ids) != blocks {
					t.Errorf("%d blocks, %v", len(ids), err)
				}
			})
			time.Sleep(time.Millisecond)
			if i%10 == 0 {
				c.change(t, func(m *clusterv1.RangeMap) { splitOrMerge(m, lo+1<<15) })
			}
		}
		all.Wait()
	})
}

// splitOrMerge splits the tenant range at a point, or merges the two that meet
// there.
func splitOrMerge(m *clusterv1.RangeMap, at uint64) {
	for i, r := range m.Ranges {
		if r.Keyspace != tenantSpace || !r.Contains(at) {
			continue
		}
		if r.Lo == at {
			left := m.Ranges[i-1]
			left.Hi, left.Epoch = r.Hi, max(left.Epoch, r.Epoch)+1
			m.Ranges = append(m.Ranges[:i], m.Ranges[i+1:]...)
			return
		}
		right := proto.Clone(r).(*clusterv1.Range)
		right.RangeId, right.Lo = m.Cluster.NextRangeId, at
		m.Cluster.NextRangeId++
		r.Hi, r.Epoch, right.Epoch = at, r.Epoch+1, r.Epoch+1
		m.Ranges = append(m.Ranges, right)
		clusterv1.SortRanges(m.Ranges)
		return
	}
}
