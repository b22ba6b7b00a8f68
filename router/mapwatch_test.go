package router

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// watched starts a router that watches the first of the nodes: its seed.
func watched(t *testing.T, c *fakeCluster, registry *prometheus.Registry) *Router {
	t.Helper()
	return watchedEach(t, c, registry, time.Hour)
}

func watchedEach(t *testing.T, c *fakeCluster, registry *prometheus.Registry, interval time.Duration) *Router {
	t.Helper()
	r, err := New(Options{RefreshInterval: interval}, homeOf{c, "n1"}, StaticSeeds(), nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if _, err := r.Maps().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return r
}

// homeOf is a cluster of which one node is in the router's process.
type homeOf struct {
	*fakeCluster
	id string
}

func (h homeOf) home() (string, nodev1.NodeServiceClient) {
	return h.id, Direct(&fakeNode{cluster: h.fakeCluster, id: h.id})
}

// moved is the map with the tenant range at point 0 in another group.
func moved(source *clusterv1.RangeMap, group uint64) *clusterv1.RangeMap {
	m := proto.Clone(source).(*clusterv1.RangeMap)
	m.Cluster.MapVersion++
	for _, r := range m.Ranges {
		if r.Keyspace == tenantSpace && r.Contains(0) {
			r.GroupId = group
			r.Epoch++
		}
	}
	return m
}

func ownerOfZero(r *Router) uint64 { return r.Maps().Map().Lookup(tenantSpace, 0).GetGroupId() }

// Changes arrive at once, one by one, and nobody has to ask for them.
func TestWatchBringsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		c.watch("n1", "n2", "n3")
		r := watched(t, c, prometheus.NewRegistry())
		start, m := time.Now(), c.truth.Proto()
		for group := uint64(3); group <= 5; group++ {
			m = moved(m, group)
			c.watchable["n1"].show(m)
			synctest.Wait()
			if got := ownerOfZero(r); got != group || r.Maps().Map().Version() != m.Cluster.MapVersion {
				t.Errorf("group %d owns point 0 at version %d, want %d at %d", got, r.Maps().Map().Version(), group, m.Cluster.MapVersion)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
		if n := len(c.calls("RangeMap")); n > 1 {
			t.Errorf("the map was read %d times", n)
		}
		synctest.Wait()
		if n := c.watchable["n1"].watches; n != 1 {
			t.Errorf("%d streams, want one", n)
		}
	})
}

// What a group said of itself stays, until the directory knows more.
func TestWatchDoesNotDisplaceHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		c.watch("n1")
		r := watched(t, c, prometheus.NewRegistry())
		first := c.truth.Lookup(tenantSpace, 0)
		r.Maps().Learn([]*clusterv1.Range{{RangeId: first.GetRangeId(), Keyspace: tenantSpace, Lo: first.GetLo(), Hi: first.GetHi(), GroupId: 5, Epoch: 9}})
		// The directory changes something, but lags behind the group.
		m := moved(c.truth.Proto(), 3)
		c.watchable["n1"].show(m)
		synctest.Wait()
		if got := ownerOfZero(r); got != 5 || r.Maps().Map().Version() != 2 {
			t.Errorf("group %d owns point 0 at version %d, want the hint and the new version", got, r.Maps().Map().Version())
		}
		// Changes go on from the directory's map, not from what was learnt.
		for range 9 {
			m = moved(m, 4)
		}
		c.watchable["n1"].show(m)
		synctest.Wait()
		if got := ownerOfZero(r); got != 4 {
			t.Errorf("group %d owns point 0, want the directory's newer 4", got)
		}
		synctest.Wait()
		if n := c.watchable["n1"].watches; n != 1 {
			t.Errorf("%d streams, want one", n)
		}
	})
}

func TestWatchGoesToAnotherNode(t *testing.T) {
	for name, fail := range map[string]struct {
		how    func(c *fakeCluster, w *fakeWatch)
		within time.Duration
	}{
		"dead": {func(c *fakeCluster, w *fakeWatch) {
			c.setBefore(func(e entry) error {
				if e.node == "n1" {
					return status.Error(codes.Unavailable, "connection refused")
				}
				return nil
			})
		}, 6 * time.Second},
		"hangs":     {func(_ *fakeCluster, w *fakeWatch) { w.set(func() { w.hangs = make(chan struct{}) }) }, 10 * time.Second},
		"says none": {func(_ *fakeCluster, w *fakeWatch) { w.set(func() { w.deaf = true }) }, 12 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newFakeCluster(t, 4, 1, 3)
				c.watch("n1", "n2", "n3")
				registry := prometheus.NewRegistry()
				r := watched(t, c, registry)
				fail.how(c, c.watchable["n1"])
				m := moved(c.truth.Proto(), 5)
				for _, w := range c.watchable {
					w.show(m)
				}
				start := time.Now()
				for ownerOfZero(r) != 5 {
					if time.Since(start) > fail.within {
						t.Fatalf("not heard of after %v", time.Since(start))
					}
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if c.watchable["n2"].watches+c.watchable["n3"].watches == 0 {
					t.Error("no other node is watched")
				}
				for id, w := range c.watchable {
					if w.watches-w.ended > 1 || id == "n1" && w.watches > 12 {
						t.Errorf("%d streams on %s, %d ended: they pile up", w.watches, id, w.ended)
					}
				}
				// The new node is told what is known already.
				for _, id := range []string{"n2", "n3"} {
					for _, from := range c.watchable[id].from {
						if from == 0 {
							t.Errorf("%s was asked for the whole map", id)
						}
					}
				}
			})
		})
	}
}

// A node whose map stands still is left once another one is known to have a
// newer map.
func TestLateNodeIsNotWatchedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 2)
		c.watch("n1", "n2")
		r := watchedEach(t, c, prometheus.NewRegistry(), time.Minute)
		c.watchable["n2"].show(moved(c.truth.Proto(), 5))
		c.move(t, tenantSpace, 0, 5)
		c.publish()
		time.Sleep(11 * time.Minute) // ten polls
		if got := ownerOfZero(r); got != 5 {
			t.Errorf("group %d owns point 0, want what another node said", got)
		}
		synctest.Wait()
		if c.watchable["n2"].watches == 0 {
			t.Error("the late node is still the only one that is watched")
		}
	})
}

// No node can be watched: the poll goes on alone.
func TestWithoutWatchThePollGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 1)
		c.start(t, Options{RefreshInterval: 30 * time.Second})
		time.Sleep(5 * time.Minute)
		if n := len(c.calls("RangeMap")); n < 10 {
			t.Errorf("the map was read %d times in 5 minutes", n)
		}
	})
}

func TestOtherClustersMapIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 1)
		c.watch("n1")
		r := watched(t, c, prometheus.NewRegistry())
		other := moved(c.truth.Proto(), 3)
		other.Cluster.ClusterId = "other"
		c.watchable["n1"].show(other)
		time.Sleep(time.Minute)
		if got := r.Maps().Map().Proto().GetCluster().GetClusterId(); got != "test" {
			t.Errorf("the map of cluster %q is in use", got)
		}
		// One that knows its cluster takes no other at the start, either.
		r, err := New(Options{ClusterID: "mine"}, c, c.seeds, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Maps().Refresh(t.Context()); !errors.Is(err, ErrOtherCluster) || r.Ready() {
			t.Errorf("got %v, ready %v", err, r.Ready())
		}
	})
}

// Streams over connections, real time: delivered, and ended with the router.
func TestWatchOverConnections(t *testing.T) {
	c := newFakeCluster(t, 4, 1, 1)
	c.watch("n1")
	pool := newPool(t, PoolOptions{})
	r, err := New(Options{}, pool.Nodes("", nil), pool.Seeds([]string{nodeServer(t, &fakeNode{cluster: c, id: "n1"})}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Maps().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.watchable["n1"].show(moved(c.truth.Proto(), 4))
	for start := time.Now(); ownerOfZero(r) != 4; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the change never arrived")
		}
	}
}
