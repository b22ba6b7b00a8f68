package router

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func TestRefreshIsSharedByCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 1)
		r := c.start(t, Options{RefreshInterval: time.Hour})
		synctest.Wait()
		before := len(c.calls("RangeMap"))
		release := make(chan struct{})
		c.setBefore(func(entry) error { <-release; return nil })
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := r.Maps().Refresh(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if n := len(c.calls("RangeMap")) - before; n != 1 {
			t.Errorf("20 callers read the map %d times", n)
		}
		if err := r.Maps().Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(c.calls("RangeMap")) - before; n != 2 {
			t.Errorf("the next refresh did not read the map")
		}
	})
}

func TestRefreshHeedsTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 1)
		r := c.start(t, Options{})
		synctest.Wait()
		release := make(chan struct{})
		c.setBefore(func(entry) error { <-release; return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := r.Maps().Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		close(release)
	})
}

func TestNotReadyUntilTheFirstMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 1)
		var down atomic.Bool
		down.Store(true)
		c.before = func(e entry) error {
			if down.Load() {
				return status.Error(codes.Unavailable, "starting")
			}
			return nil
		}
		r, err := New(Options{}, c, c.seeds, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		start := time.Now()
		wantCode(t, addBlock(t.Context(), r, newBlock("a", 1, 1)), codes.Unavailable)
		if took := time.Since(start); took != 1800*time.Millisecond {
			t.Errorf("gave up after %v", took)
		}
		if r.Ready() {
			t.Error("ready without a map")
		}
		// Comes up while a request waits; nothing else wakes the router.
		time.AfterFunc(time.Second, func() { down.Store(false) })
		if err := addBlock(t.Context(), r, newBlock("a", 1, 1)); err != nil {
			t.Error(err)
		}
		if !r.Ready() {
			t.Error("not ready with a map")
		}
	})
}

func TestPollsWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 1)
		r := c.start(t, Options{RefreshInterval: 30 * time.Second})
		c.move(t, tenantSpace, 0, 5)
		c.publish()
		<-time.After(time.Minute)
		if got := r.Maps().Map().Lookup(tenantSpace, 0).GetGroupId(); got != 5 || r.Maps().Map().Version() != 2 {
			t.Errorf("after a minute group %d owns point 0, want 5", got)
		}
	})
}

// All seeds are gone: the nodes of the map still answer.
func TestRefreshFallsBackToTheMapsNodes(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 2)
	seeds := c.seeds()
	var mu sync.Mutex
	r, err := New(Options{}, c, func() []nodev1.NodeServiceClient {
		mu.Lock()
		defer mu.Unlock()
		return seeds
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Maps().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	seeds = nil
	mu.Unlock()
	if err := r.Maps().Refresh(t.Context()); err != nil {
		t.Errorf("no fallback: %v", err)
	}
}

func TestHangingSeedDoesNotBlockTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 1)
		seeds := StaticSeeds(Direct(hangingNode{}), Direct(&fakeNode{cluster: c, id: "n1"}))
		r, err := New(Options{RefreshTimeout: time.Second}, c, seeds, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		start := time.Now()
		if _, err := r.Maps().Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v, want the hanging seed's second", took)
		}
		start = time.Now()
		if err := r.Maps().Refresh(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("the next refresh took %v, %v: it must begin with the seed that answers", time.Since(start), err)
		}
	})
}

type hangingNode struct {
	nodev1.UnimplementedNodeServiceServer
}

func (hangingNode) RangeMap(ctx context.Context, _ *nodev1.RangeMapRequest) (*nodev1.RangeMapResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

type brokenNode struct {
	nodev1.UnimplementedNodeServiceServer
	answer *clusterv1.RangeMap
}

func (n brokenNode) RangeMap(context.Context, *nodev1.RangeMapRequest) (*nodev1.RangeMapResponse, error) {
	if n.answer == nil {
		panic("boom")
	}
	return &nodev1.RangeMapResponse{Map: n.answer}, nil
}

func TestBrokenMapsAreRefused(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	for name, answer := range map[string]*clusterv1.RangeMap{
		"panic":     nil,
		"empty":     {},
		"no ranges": {Cluster: &clusterv1.Cluster{}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := New(Options{}, c, StaticSeeds(Direct(brokenNode{answer: answer})), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := r.Maps().Refresh(t.Context()); err == nil || r.Ready() {
				t.Errorf("got %v, ready %v", err, r.Ready())
			}
		})
	}
}

func TestClosedRouterAnswersAtOnce(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	r, err := New(Options{}, c, StaticSeeds(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	r.Close()
	wantCode(t, addBlock(t.Context(), r, newBlock("a", 1, 1)), codes.Unavailable)
}

func TestOptionsReportEveryFault(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Errorf("the zero value is invalid: %v", err)
	}
	err := Options{FanOut: -1, QueryBudget: -time.Second, MaxAnswerBytes: MaxMessageBytes + 1}.Validate()
	if !errors.Is(err, ErrOptions) {
		t.Fatalf("got %v, want ErrOptions", err)
	}
	for _, name := range []string{"FanOut", "QueryBudget", "MaxAnswerBytes"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	if _, err := New(Options{FanOut: -1}, newFakeCluster(t, 1, 1, 1), StaticSeeds(), nil, nil); !errors.Is(err, ErrOptions) {
		t.Errorf("New took invalid options: %v", err)
	}
	if _, err := ServerOptions(Options{FanOut: -1}, nil, nil); !errors.Is(err, ErrOptions) {
		t.Errorf("ServerOptions took invalid options: %v", err)
	}
}
