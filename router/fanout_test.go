package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

func (c *fakeCluster) setBefore(before func(entry) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = before
}

// failing fails the first calls of a kind.
func failing(call string, times int32, err error) func(entry) error {
	var seen atomic.Int32
	return func(e entry) error {
		if e.call == call && seen.Add(1) <= times {
			return err
		}
		return nil
	}
}

func addBlock(ctx context.Context, r *Router, block *metastorev1.BlockMeta) error {
	_, err := (&indexService{router: r}).AddBlock(ctx, &metastorev1.AddBlockRequest{Block: block})
	return err
}

func TestRoutesByPoint(t *testing.T) {
	c := newFakeCluster(t, 8, 2, 1)
	r := c.start(t, Options{})
	for i := range 64 {
		block := newBlock(fmt.Sprintf("tenant-%d", i/2), uint32(i), i)
		if i%2 == 0 {
			block = newBlock("", uint32(i), i)
		}
		if err := addBlock(t.Context(), r, block); err != nil {
			t.Fatal(err)
		}
	}
	calls := c.calls("AddBlock")
	if len(calls) != 64 {
		t.Fatalf("%d calls for 64 blocks: some went to the wrong group first", len(calls))
	}
	groups := map[uint64]bool{}
	for i, e := range calls {
		ref := e.refs[0]
		wantKeyspace := clusterv1.Keyspace_KEYSPACE_TENANT
		if i%2 == 0 {
			wantKeyspace = clusterv1.Keyspace_KEYSPACE_STREAM
		}
		if ref.GetKeyspace() != wantKeyspace || ref.GetHi() != ref.GetLo()+1 {
			t.Errorf("call %d names %v, want one point in %v", i, ref, wantKeyspace)
		}
		groups[e.group] = true
	}
	if len(groups) < 6 {
		t.Errorf("64 blocks went to %d of 8 groups only", len(groups))
	}
}

func TestStaleMapLearnsFromHintsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		block := newBlock("acme", 1, 1)
		keyspace, point := clusterv1.BlockPoint("acme", 1)
		owner := c.truth.Lookup(keyspace, point).GetGroupId()
		target := owner%4 + 2
		c.move(t, keyspace, point, target)
		synctest.Wait() // for the first unforced read of the map
		refreshes := len(c.calls("RangeMap"))
		start := time.Now()
		if err := addBlock(t.Context(), r, block); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v, want an immediate retry", waited)
		}
		calls := c.calls("AddBlock")
		if len(calls) != 2 || calls[0].group != owner || calls[1].group != target || calls[1].refs[0].GetEpoch() != 2 {
			t.Errorf("got calls %v, want groups %d, %d", calls, owner, target)
		}
		if got := len(c.calls("RangeMap")); got != refreshes {
			t.Errorf("the hint was enough, but the map was read %d times", got-refreshes)
		}
		// Learnt for good: also after a refresh from the old directory.
		if err := r.Maps().Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.Maps().Map().Lookup(keyspace, point).GetGroupId(); got != target {
			t.Errorf("the map went back to group %d", got)
		}
	})
}

func TestStaleMapWithoutHintsRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		keyspace, point := clusterv1.BlockPoint("acme", 1)
		target := c.truth.Lookup(keyspace, point).GetGroupId()%4 + 2
		c.move(t, keyspace, point, target)
		c.publish()
		c.noHints = true
		if err := addBlock(t.Context(), r, newBlock("acme", 1, 1)); err != nil {
			t.Fatal(err)
		}
		if calls := c.calls("AddBlock"); len(calls) != 2 || calls[1].group != target {
			t.Errorf("got calls %v", calls)
		}
	})
}

// A directory that does not know yet what the groups know: the router goes on
// asking, but not faster and faster.
func TestSameAnswerTwiceBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{})
		keyspace, point := clusterv1.BlockPoint("acme", 1)
		c.move(t, keyspace, point, c.truth.Lookup(keyspace, point).GetGroupId()%4+2)
		c.noHints = true
		start := time.Now()
		err := addBlock(t.Context(), r, newBlock("acme", 1, 1))
		wantCode(t, err, codes.Unavailable)
		if took := time.Since(start); took != 1800*time.Millisecond {
			t.Errorf("gave up after %v, want 1.8s", took)
		}
		if n := len(c.calls("AddBlock")); n < 5 || n > 25 {
			t.Errorf("%d attempts in 1.8s, want a handful", n)
		}
	})
}

// Two groups that point at each other with ever higher epochs.
func TestContradictingGroupsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 1)
		r := c.start(t, Options{})
		var epoch atomic.Uint64
		epoch.Store(10)
		c.setBefore(func(e entry) error {
			if e.call != "AddBlock" {
				return nil
			}
			return routeFault(codes.Aborted, clusterv1.RouteError_REASON_NOT_OWNER, &clusterv1.Range{
				Keyspace: e.refs[0].GetKeyspace(), GroupId: 5 - e.group, Epoch: epoch.Add(1),
			})
		})
		wantCode(t, addBlock(t.Context(), r, newBlock("acme", 1, 1)), codes.Unavailable)
		if n := len(c.calls("AddBlock")); n < 5 || n > 25 {
			t.Errorf("%d attempts in 1.8s, want a handful", n)
		}
	})
}

func TestEpochAheadKeepsTheMapAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		r := c.start(t, Options{})
		synctest.Wait() // for the first unforced read of the map
		before, refreshes := r.Maps().Map(), len(c.calls("RangeMap"))
		c.setBefore(failing("AddBlock", 4, routeFault(codes.Unavailable, clusterv1.RouteError_REASON_EPOCH_AHEAD)))
		start := time.Now()
		if err := addBlock(t.Context(), r, newBlock("acme", 1, 1)); err != nil {
			t.Fatal(err)
		}
		// 2+4+8+16 ms, each at least half of that.
		if waited := time.Since(start); waited < 15*time.Millisecond || waited > 30*time.Millisecond {
			t.Errorf("waited %v, want 15..30ms", waited)
		}
		calls := c.calls("AddBlock")
		if len(calls) != 5 {
			t.Fatalf("%d calls, want 5", len(calls))
		}
		for _, e := range calls {
			if e.group != calls[0].group || e.node != calls[0].node {
				t.Errorf("asked group %d on %s, want the same as before: group %d on %s", e.group, e.node, calls[0].group, calls[0].node)
			}
		}
		if r.Maps().Map() != before || len(c.calls("RangeMap")) != refreshes {
			t.Errorf("the map was read or changed")
		}
	})
}

func TestNotReadyAsksTheNextReplica(t *testing.T) {
	for name, fault := range map[string]error{
		"not ready":   routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY),
		"ambiguous":   routeFault(codes.Unavailable, clusterv1.RouteError_REASON_AMBIGUOUS),
		"unreachable": status.Error(codes.Unavailable, "connection refused"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newFakeCluster(t, 1, 1, 3)
				r := c.start(t, Options{})
				c.setBefore(failing("AddBlock", 2, fault))
				if err := addBlock(t.Context(), r, newBlock("acme", 1, 1)); err != nil {
					t.Fatal(err)
				}
				if err := addBlock(t.Context(), r, newBlock("acme", 1, 2)); err != nil {
					t.Fatal(err)
				}
				calls := c.calls("AddBlock")
				if len(calls) != 4 {
					t.Fatalf("%d calls, want 4", len(calls))
				}
				nodes := []string{calls[0].node, calls[1].node, calls[2].node}
				slices.Sort(nodes)
				if !slices.Equal(nodes, []string{"n1", "n2", "n3"}) {
					t.Errorf("asked %v, want each replica once", nodes)
				}
				if calls[3].node != calls[2].node {
					t.Errorf("left %s, which answered, for %s", calls[2].node, calls[3].node)
				}
			})
		})
	}
}

// A group whose replicas all moved to other nodes: no answer, no hint.
func TestMovedReplicasAreFoundInTheMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 2)
		r := c.start(t, Options{RefreshInterval: time.Hour})
		synctest.Wait()
		source := proto.Clone(c.truth.Proto()).(*clusterv1.RangeMap)
		source.Cluster.MapVersion++
		source.Nodes = append(source.Nodes, &clusterv1.Node{NodeId: "n3"})
		for _, group := range source.Groups {
			group.Replicas = []*clusterv1.Replica{{ReplicaId: 900 + group.GroupId, NodeId: "n3"}}
		}
		c.mu.Lock()
		c.truth = newMap(t, source)
		c.mu.Unlock()
		c.setBefore(func(e entry) error {
			if e.call == "AddBlock" && e.node != "n3" {
				return status.Error(codes.Unavailable, "connection refused")
			}
			return nil
		})
		if err := addBlock(t.Context(), r, newBlock("acme", 1, 1)); err != nil {
			t.Fatal(err)
		}
		if calls := c.calls("AddBlock"); len(calls) > 4 {
			t.Errorf("%d attempts until the new node was found", len(calls))
		}
	})
}

func TestOverloadedWaitsLonger(t *testing.T) {
	for name, fault := range map[string]error{
		"by reason": routeFault(codes.ResourceExhausted, clusterv1.RouteError_REASON_OVERLOADED),
		"by code":   status.Error(codes.ResourceExhausted, "busy"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newFakeCluster(t, 1, 1, 1)
				r := c.start(t, Options{})
				c.setBefore(failing("AddBlock", 3, fault))
				start := time.Now()
				if err := addBlock(t.Context(), r, newBlock("acme", 1, 1)); err != nil {
					t.Fatal(err)
				}
				if waited := time.Since(start); waited < 175*time.Millisecond || waited > 350*time.Millisecond {
					t.Errorf("waited %v, want 175..350ms", waited)
				}
			})
		})
	}
}

func TestRetriesKeepTheRequestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 1)
		r := c.start(t, Options{})
		c.setBefore(failing("AddBlock", 3, routeFault(codes.Unavailable, clusterv1.RouteError_REASON_AMBIGUOUS)))
		for n := range 2 {
			if err := addBlock(t.Context(), r, newBlock("acme", 1, n)); err != nil {
				t.Fatal(err)
			}
		}
		calls := c.calls("AddBlock")
		first := calls[0].request.(*nodev1.AddBlockRequest)
		if len(calls) != 5 || len(first.GetRequestId()) != 16 {
			t.Fatalf("%d calls, request id %x; want 5 calls and 16 bytes", len(calls), first.GetRequestId())
		}
		for i, e := range calls {
			request := e.request.(*nodev1.AddBlockRequest)
			if same := bytes.Equal(request.GetRequestId(), first.GetRequestId()); same != (i < 4) {
				t.Errorf("attempt %d: same request id is %v", i, same)
			}
			if i < 4 && !bytes.Equal(request.GetBlock(), first.GetBlock()) {
				t.Errorf("attempt %d sends another block", i)
			}
		}
	})
}

func TestBudgetsEndWithUnavailable(t *testing.T) {
	faults := map[string]error{
		"not owner":   routeFault(codes.Aborted, clusterv1.RouteError_REASON_NOT_OWNER),
		"aborted":     status.Error(codes.Aborted, "no detail"),
		"epoch ahead": routeFault(codes.Unavailable, clusterv1.RouteError_REASON_EPOCH_AHEAD),
		"not ready":   routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY),
		"overloaded":  routeFault(codes.ResourceExhausted, clusterv1.RouteError_REASON_OVERLOADED),
		"ambiguous":   routeFault(codes.Unavailable, clusterv1.RouteError_REASON_AMBIGUOUS),
	}
	calls := map[string]struct {
		budget time.Duration
		do     func(context.Context, *Router) error
	}{
		"AddBlock": {1800 * time.Millisecond, func(ctx context.Context, r *Router) error {
			return addBlock(ctx, r, newBlock("acme", 1, 1))
		}},
		"GetBlocks": {4500 * time.Millisecond, func(ctx context.Context, r *Router) error {
			_, err := (&indexService{router: r}).GetBlockMetadata(ctx, &metastorev1.GetBlockMetadataRequest{Blocks: &metastorev1.BlockList{Blocks: []string{blockID(1)}}})
			return err
		}},
		"QueryBlocks": {18 * time.Second, func(ctx context.Context, r *Router) error {
			_, err := (&queryService{router: r}).QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{TenantId: []string{"acme"}, Query: "{}"})
			return err
		}},
	}
	for faultName, fault := range faults {
		for call, test := range calls {
			t.Run(call+" "+faultName, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newFakeCluster(t, 2, 1, 2)
					r := c.start(t, Options{})
					c.setBefore(failing(call, 1<<30, fault))

					start := time.Now()
					wantCode(t, test.do(t.Context(), r), codes.Unavailable)
					if took := time.Since(start); took != test.budget {
						t.Errorf("gave up after %v, want %v", took, test.budget)
					}

					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					start = time.Now()
					wantCode(t, test.do(ctx, r), codes.DeadlineExceeded)
					if took := time.Since(start); took != time.Second {
						t.Errorf("gave up after %v, want the caller's second", took)
					}

					ctx, cancel = context.WithCancel(t.Context())
					time.AfterFunc(100*time.Millisecond, cancel)
					start = time.Now()
					wantCode(t, test.do(ctx, r), codes.Canceled)
					if took := time.Since(start); took != 100*time.Millisecond {
						t.Errorf("noticed the cancellation after %v", took)
					}
				})
			})
		}
	}
}

// A node that never answers, but heeds its context as gRPC does.
func TestHangingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 2)
		r := c.start(t, Options{})
		var asked []string
		note := func(client nodev1.NodeServiceClient) {
			asked = append(asked, client.(direct).server.(*fakeNode).id)
		}
		hang := func(ctx context.Context, e nodev1.NodeServiceClient, p part) (take, error) {
			note(e)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		err := r.run(t.Context(), "AddBlock", time.Second, []span{pointSpan("acme", 1)}, hang)
		wantCode(t, err, codes.Unavailable)
		// The node's clock ended first.
		early := func(ctx context.Context, e nodev1.NodeServiceClient, p part) (take, error) {
			note(e)
			return nil, status.Error(codes.DeadlineExceeded, "too late")
		}
		err = r.run(t.Context(), "AddBlock", time.Second, []span{pointSpan("acme", 1)}, early)
		wantCode(t, err, codes.Unavailable)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		err = r.run(ctx, "AddBlock", time.Second, []span{pointSpan("acme", 1)}, early)
		wantCode(t, err, codes.DeadlineExceeded)
		// The caller would have waited longer.
		ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err = r.run(ctx, "AddBlock", time.Second, []span{pointSpan("acme", 1)}, early)
		wantCode(t, err, codes.Unavailable)
		// Each attempt, of the next request too, begins with the other replica.
		for i := range asked[1:] {
			if asked[i] == asked[i+1] {
				t.Errorf("asked %v, want each time the other replica", asked)
			}
		}
		if len(asked) > 10 {
			t.Errorf("%d attempts, at most three of a request are worth it", len(asked))
		}
	})
}

func TestSurfacedErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 2)
		r := c.start(t, Options{})
		for _, test := range []struct {
			fault error
			want  codes.Code
		}{
			{status.Error(codes.InvalidArgument, "max_bytes"), codes.InvalidArgument},
			{status.Error(codes.Internal, "disk"), codes.Internal},
			{status.Error(codes.DataLoss, "disk"), codes.Internal},
			{status.Error(codes.Unimplemented, "old node"), codes.Internal},
			{errors.New("plain"), codes.Internal},
		} {
			calls := len(c.calls("AddBlock"))
			c.setBefore(failing("AddBlock", 1<<30, test.fault))
			start := time.Now()
			wantCode(t, addBlock(t.Context(), r, newBlock("acme", 1, 1)), test.want)
			if n := len(c.calls("AddBlock")) - calls; n != 1 || time.Since(start) != 0 {
				t.Errorf("%v: %d attempts in %v, want one at once", test.fault, n, time.Since(start))
			}
		}
	})
}

func TestOneGroupFailsTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 6, 2, 2)
		r := c.start(t, Options{})
		tenants := []string{"a", "b", "c", "d", "e", "f"}
		c.setBefore(func(e entry) error {
			if e.group == 3 {
				return status.Error(codes.Unavailable, "connection refused")
			}
			return nil
		})
		_, err := (&queryService{router: r}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: tenants, Query: "{}"})
		wantCode(t, err, codes.Unavailable)
		_, err = (&queryService{router: r}).QueryMetadataLabels(t.Context(), &metastorev1.QueryMetadataLabelsRequest{TenantId: tenants, Query: "{}", Labels: []string{"x"}})
		wantCode(t, err, codes.Unavailable)
		_, err = (&tenantService{router: r}).GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
		wantCode(t, err, codes.Unavailable)
		_, err = (&tenantService{router: r}).GetTenant(t.Context(), &metastorev1.GetTenantRequest{TenantId: "a"})
		wantCode(t, err, codes.Unavailable)
		perGroup := map[uint64]int{}
		for _, e := range c.calls("QueryBlocks") {
			perGroup[e.group]++
		}
		for group, n := range perGroup {
			if group != 3 && n != 1 {
				t.Errorf("healthy group %d was asked %d times", group, n)
			}
		}
	})
}

// A hopeless error ends the others' waits.
func TestFirstErrorEndsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 4, 1)
		r := c.start(t, Options{})
		c.setBefore(func(e entry) error {
			switch e.group {
			case 3:
				return status.Error(codes.InvalidArgument, "the answer is too large")
			case 0:
				return nil
			}
			return routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY)
		})
		start := time.Now()
		_, err := (&tenantService{router: r}).GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
		wantCode(t, err, codes.InvalidArgument)
		if took := time.Since(start); took > 50*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// Ranges move at random while queries run, the directory lags behind: each
// block is found exactly once, in order.
func TestQueriesUnderMoves(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				c := newFakeCluster(t, 6, 3, 2)
				c.noHints = seed%4 == 3
				r := c.start(t, Options{FanOut: 3})
				tenants := []string{""}
				var want []string
				for i := range 60 {
					tenant := ""
					if i%3 != 0 {
						tenant = fmt.Sprint("tenant-", i%10)
						tenants = append(tenants, tenant)
					}
					block := newBlock(tenant, uint32(i), i)
					c.add(block)
					want = append(want, blockKey(block))
				}
				slices.Sort(want)
				var moves atomic.Int32
				c.setBefore(func(e entry) error {
					// One goroutine at a time: random is not shared safely.
					c.mu.Lock()
					roll, keyspace, point, group := random.IntN(4), clusterv1.Keyspace(1+random.IntN(2)), random.Uint64(), 2+random.Uint64N(6)
					c.mu.Unlock()
					switch {
					case moves.Add(1) > 60 || e.call == "RangeMap":
						c.publish()
					case roll == 0:
						c.move(t, keyspace, point, group)
					case roll == 1:
						return routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY)
					}
					return nil
				})
				answer, err := (&queryService{router: r}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: tenants, Query: "{}"})
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, block := range passed(t, answer).GetBlocks() {
					got = append(got, blockKey(block))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("got %d blocks, want %d: %q", len(got), len(want), got)
				}
			})
		})
	}
}

func TestFanOutIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 20, 1, 1)
		r := c.start(t, Options{FanOut: 3})
		var running, most atomic.Int32
		err := r.run(t.Context(), "test", time.Minute, []span{allTenants()}, func(ctx context.Context, _ nodev1.NodeServiceClient, p part) (take, error) {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			return nil, wait(ctx, time.Second)
		})
		if err != nil {
			t.Fatal(err)
		}
		if most.Load() != 3 {
			t.Errorf("%d calls at a time, want 3", most.Load())
		}
	})
}

func TestPanicInFanOutIsAnError(t *testing.T) {
	c := newFakeCluster(t, 3, 1, 1)
	r := c.start(t, Options{})
	c.setBefore(func(e entry) error {
		if e.group == 3 {
			panic("boom")
		}
		return nil
	})
	_, err := (&tenantService{router: r}).GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
	wantCode(t, err, codes.Internal)
}
