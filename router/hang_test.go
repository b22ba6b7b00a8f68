package router

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// hanging makes nodes hang: their connections stay open, and nothing comes back.
func hanging(nodes ...string) func(entry) error {
	return func(e entry) error {
		for _, node := range nodes {
			if e.node == node {
				<-e.ctx.Done()
				return e.ctx.Err()
			}
		}
		return nil
	}
}

func query(ctx context.Context, r *Router, tenant string) ([]string, error) {
	answer, err := (&queryService{router: r}).QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{TenantId: []string{tenant}, Query: "{}"})
	if err != nil {
		return nil, err
	}
	encoded, err := proto.Marshal(answer)
	if err != nil {
		return nil, err
	}
	decoded := &metastorev1.QueryMetadataResponse{}
	if err := proto.Unmarshal(encoded, decoded); err != nil {
		return nil, err
	}
	var ids []string
	for _, block := range decoded.GetBlocks() {
		ids = append(ids, block.GetId())
	}
	return ids, nil
}

// tenantIn finds a tenant whose first shard lies in a group.
func tenantIn(m *clusterv1.Map, group uint64) string {
	for i := 0; ; i++ {
		tenant := fmt.Sprintf("tenant-%d", i)
		if keyspace, point := clusterv1.BlockPoint(tenant, 1); m.Lookup(keyspace, point).GetGroupId() == group {
			return tenant
		}
	}
}

// A node that stops costs the writes in flight a fraction of their time, and later
// ones nothing, whichever group they go to. It gets calls again when it goes on.
func TestHungNodeCostsWritesLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 8, 1, 3)
		r := c.start(t, Options{})
		c.setBefore(hanging("n2"))
		var slow, written int
		for i := range 400 {
			start := time.Now()
			if err := addBlock(t.Context(), r, newBlock(fmt.Sprintf("tenant-%d", i), 1, i)); err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			if took > 400*time.Millisecond {
				t.Errorf("a write took %v", took)
			}
			if took > 0 {
				slow++
			}
			written++
			time.Sleep(10 * time.Millisecond)
		}
		if slow == 0 || slow > 2 {
			t.Errorf("%d of %d writes waited for the hung node, want the first", slow, written)
		}
		c.setBefore(nil)
		time.Sleep(2 * suspectPace)
		before := asked(c.calls("AddBlock"))["n2"]
		for i := range 50 {
			if err := addBlock(t.Context(), r, newBlock("acme", 1, i)); err != nil {
				t.Fatal(err)
			}
		}
		if got := asked(c.calls("AddBlock"))["n2"]; got == before {
			t.Error("the node goes on, but gets no calls")
		}
	})
}

// A leader that stops: writes find the next one within their budget.
func TestHungLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 3)
		r := c.start(t, Options{})
		lead := func(node int, term uint64) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.status = []*nodev1.GroupReplica{{GroupId: 2, Term: term, LeaderReplicaId: c.truth.Group(2).GetReplicas()[node-1].GetReplicaId()}}
		}
		lead(3, 1)
		for i := range 5 {
			if err := addBlock(t.Context(), r, newBlock("acme", 1, i)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		// For a second nobody leads; followers go on naming the old one.
		start := time.Now()
		c.setBefore(func(e entry) error {
			if e.node == "n3" {
				<-e.ctx.Done()
				return e.ctx.Err()
			}
			if e.call == "AddBlock" && time.Since(start) < time.Second {
				return routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY)
			}
			return nil
		})
		time.AfterFunc(time.Second, func() { lead(1, 2) })
		if err := addBlock(t.Context(), r, newBlock("acme", 1, 10)); err != nil {
			t.Errorf("the write during the election: %v", err)
		}
		if took := time.Since(start); took > 1700*time.Millisecond {
			t.Errorf("took %v", took)
		}
		time.Sleep(leaderRetry)
		mark := len(c.calls("AddBlock"))
		for i := range 20 {
			if err := addBlock(t.Context(), r, newBlock("acme", 1, 20+i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(leaderRetry)
		}
		if got := asked(c.calls("AddBlock")[mark:]); got["n1"] < 18 || got["n3"] != 0 {
			t.Errorf("asked %v after n1 took over", got)
		}
	})
}

// What only leaders answer goes to the leader that a follower names, at once.
func TestLeaderHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 5)
		r := c.start(t, Options{})
		var leader atomic.Value
		leader.Store("n4")
		c.setBefore(func(e entry) error {
			if e.call != "AddBlock" || e.node == leader.Load() {
				return nil
			}
			return leaderFault(leader.Load().(string))
		})
		for i := range 100 {
			if i == 50 {
				leader.Store("n2")
			}
			if err := addBlock(t.Context(), r, newBlock("acme", 1, i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(c.calls("AddBlock")); n > 104 {
			t.Errorf("100 writes took %d calls, want a detour for each of two leaders", n)
		}
	})
}

func leaderFault(leader string) error {
	s, err := status.New(codes.Unavailable, "not the leader").WithDetails(&clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_NOT_READY, LeaderNodeId: leader})
	if err != nil {
		return err
	}
	return s.Err()
}

// Replicas that name each other do not make the router spin.
func TestHintLoopsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 3)
		r := c.start(t, Options{})
		next := map[string]string{"n1": "n2", "n2": "n3", "n3": "n1"}
		c.setBefore(func(e entry) error {
			if e.call == "AddBlock" {
				return leaderFault(next[e.node])
			}
			return nil
		})
		start := time.Now()
		wantCode(t, addBlock(t.Context(), r, newBlock("acme", 1, 1)), codes.Unavailable)
		if took := time.Since(start); took != 1800*time.Millisecond {
			t.Errorf("gave up after %v", took)
		}
		if n := len(c.calls("AddBlock")); n < 5 || n > 25 {
			t.Errorf("%d attempts in 1.8 s, want a handful", n)
		}
	})
}

// A group without a quorum hangs on every node, and its nodes go on serving the
// others.
func TestHungGroupDoesNotShunItsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 3)
		r := c.start(t, Options{})
		dead, alive := tenantIn(c.truth, 2), tenantIn(c.truth, 3)
		c.setBefore(func(e entry) error {
			if e.call == "AddBlock" && e.group == 2 {
				<-e.ctx.Done()
				return e.ctx.Err()
			}
			return nil
		})
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() { wantCode(t, addBlock(t.Context(), r, newBlock(dead, 1, i)), codes.Unavailable) })
		}
		for i := range 180 {
			start := time.Now()
			if err := addBlock(t.Context(), r, newBlock(alive, 1, i)); err != nil || time.Since(start) != 0 {
				t.Fatalf("a write to another group took %v: %v", time.Since(start), err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		all.Wait()
		calls, byNode := 0, map[string]int{}
		for _, e := range c.calls("AddBlock") {
			if e.group == 2 {
				calls++
			} else {
				byNode[e.node]++
			}
		}
		if calls > 60 {
			t.Errorf("20 writes to the hung group became %d calls, want three each", calls)
		}
		for _, node := range []string{"n1", "n2", "n3"} {
			if byNode[node] < 20 {
				t.Errorf("%s got %d of 180 writes to the other group", node, byNode[node])
			}
		}
	})
}

// A read that a slow replica holds up is answered by another one, once.
func TestHungNodeCostsReadsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		r := c.start(t, Options{})
		var want int
		for i := range 40 {
			c.add(newBlock("acme", uint32(i), i))
			want++
		}
		c.setBefore(hanging("n2"))
		slow := 0
		for range 100 {
			start := time.Now()
			ids, err := query(t.Context(), r, "acme")
			if err != nil || len(ids) != want {
				t.Fatalf("%d blocks, %v; want %d", len(ids), err, want)
			}
			if took := time.Since(start); took > 250*time.Millisecond {
				t.Errorf("a query took %v", took)
			} else if took > 0 {
				slow++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if slow > 2 {
			t.Errorf("%d of 100 queries waited for the hung node", slow)
		}
	})
}

// Both replicas answer at the same moment: the answer is taken once.
func TestHedgedAnswersCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 2)
		r := c.start(t, Options{})
		c.add(newBlock("acme", 1, 1))
		var calls atomic.Int32
		c.setBefore(func(e entry) error {
			if e.call == "QueryBlocks" {
				// The second call ends with the first, in either order.
				time.Sleep(time.Duration(2-calls.Add(1)) * hedgeFirst)
				time.Sleep(hedgeFirst)
			}
			return nil
		})
		ids, err := query(t.Context(), r, "acme")
		if err != nil || len(ids) != 1 {
			t.Errorf("got %v, %v", ids, err)
		}
		if calls.Load() != 2 {
			t.Errorf("%d calls, want a hedge", calls.Load())
		}
		time.Sleep(time.Second) // the fake does not heed its context
	})
}

// Everything is slow: second calls are few, however many first ones there are.
func TestHedgesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 3)
		r := c.start(t, Options{})
		c.setBefore(func(e entry) error {
			if e.call == "GetBlocks" {
				return wait(e.ctx, time.Second)
			}
			return nil
		})
		var all sync.WaitGroup
		const reads = 1000
		for i := range reads {
			all.Go(func() {
				if err := readOf(t, r, i); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Millisecond)
		}
		all.Wait()
		if extra := len(c.calls("GetBlocks")) - reads; extra < 1 || extra > reads/20+hedgeBurst {
			t.Errorf("%d reads became %d calls more", reads, extra)
		}
	})
}

// An outlier is told from what is usual: the estimate follows the calls.
func TestHedgeDelayFollowsTheCalls(t *testing.T) {
	h := newHedges()
	for i := range 5000 {
		d := 10 * time.Millisecond
		if i%50 == 0 {
			d = time.Second
		}
		h.took("fast", d)
		h.took("slow", 50*d)
	}
	if got := h.delay("fast"); got != hedgeSoonest {
		t.Errorf("calls of 10 ms are hedged after %v", got)
	}
	if got := h.delay("slow"); got < 500*time.Millisecond || got > hedgeLatest {
		t.Errorf("calls of 500 ms are hedged after %v", got)
	}
}
