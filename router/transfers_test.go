package router

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

const streamSpace = clusterv1.Keyspace_KEYSPACE_STREAM

// transferCluster has streams in groups 2 and 3, and a tenant of which the shard 1
// lies in neither, and its stream in group 2.
func transferCluster(t testing.TB) (*fakeCluster, transferPair) {
	t.Helper()
	c := newFakeCluster(t, 6, 2, 1)
	for stream := uint32(1); ; stream++ {
		if c.truth.Lookup(streamSpace, clusterv1.StreamPoint(stream)).GetGroupId() == 2 {
			for i := 0; ; i++ {
				pair := transferPair{stream, fmt.Sprintf("tenant-%d", i)}
				if c.truth.Lookup(tenantSpace, clusterv1.TenantPoint(pair.tenant, stream)).GetGroupId() > 3 {
					return c, pair
				}
			}
		}
	}
}

// inOrder makes calls of a kind end one after the other, in the order of the groups,
// and lets something happen after each.
func (c *fakeCluster) inOrder(call string, groups []uint64, between func(i int)) {
	turns := make([]chan struct{}, len(groups)+1)
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	close(turns[0])
	var mu sync.Mutex
	next := map[uint64]bool{}
	find := func(group uint64) int {
		mu.Lock()
		defer mu.Unlock()
		if next[group] {
			return -1 // once more
		}
		return slices.Index(groups, group)
	}
	c.setBefore(func(e entry) error {
		if i := find(e.group); e.call == call && i >= 0 {
			<-turns[i]
		}
		return nil
	})
	c.after = func(e entry) {
		if i := find(e.group); e.call == call && i >= 0 {
			between(i)
			mu.Lock()
			next[e.group] = true
			mu.Unlock()
			close(turns[i+1])
		}
	}
}

func (c *fakeCluster) groupOf(p transferPair) uint64 {
	return c.truth.Lookup(tenantSpace, clusterv1.TenantPoint(p.tenant, p.stream)).GetGroupId()
}

// asked are the calls of a kind, by group.
func (c *fakeCluster) asked(call string) map[uint64]int {
	asked := map[uint64]int{}
	for _, e := range c.calls(call) {
		asked[e.group]++
	}
	return asked
}

func extraRounds(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for _, reason := range []string{tenantsBehind, streamsBehind, strictRound} {
		if n := counter(t, registry, "skerry_router_transfer_rounds_total", "reason", reason); n > 0 {
			found[reason] = n
		}
	}
	return found
}

func (c *fakeCluster) startMeasured(t testing.TB, options Options) (*Router, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	r, err := New(options, c, c.seeds, nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if _, err := r.Maps().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, registry
}

// As long as no transfer happens between two reads each group is asked once,
// whatever waits, is accepted or finished. What is accepted is hidden, and the rest
// is in order.
func TestTransfersUsuallyTakeNoExtraRound(t *testing.T) {
	c, pair := transferCluster(t)
	r, registry := c.startMeasured(t, Options{})
	other := transferPair{pair.stream, "tenant-of-nobody"}
	one := func(n int) *metastorev1.BlockMeta { return newBlock(pair.tenant, pair.stream, n) }
	for n := 1; n <= 4; n++ {
		c.issue(pair.stream, nil, one(n), newBlock(other.tenant, pair.stream, n))
	}
	c.accept(pair)
	c.finish(pair) // 1
	c.accept(pair) // 2
	// Compacted since: the id does not tell any more.
	c.mu.Lock()
	c.remove(one(2))
	c.mu.Unlock()
	c.add(one(9))
	c.add(newBlock("", pair.stream, 7))
	ids, err := query(t.Context(), r, pair.tenant)
	if want := []string{blockID(7), blockID(1), blockID(3), blockID(4), blockID(9)}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("got %v (%v), want %v", ids, err, want)
	}
	for group, n := range c.asked("QueryBlocks") {
		if n != 1 {
			t.Errorf("group %d was asked %d times", group, n)
		}
	}
	if rounds := extraRounds(t, registry); len(rounds) != 0 {
		t.Errorf("extra rounds: %v", rounds)
	}
}

// The tenant was read before it accepted, the stream after it had forgotten: only
// the tenant's point is read again.
func TestTenantBehindIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, pair := transferCluster(t)
		r, registry := c.startMeasured(t, Options{})
		c.add(newBlock(pair.tenant, pair.stream, 1))
		c.issue(pair.stream, nil, newBlock(pair.tenant, pair.stream, 2))
		c.inOrder("QueryBlocks", []uint64{c.groupOf(pair), 2}, func(i int) {
			if i == 0 {
				c.deliver(pair)
			}
		})
		ids, err := query(t.Context(), r, pair.tenant)
		if want := []string{blockID(1), blockID(2)}; err != nil || !slices.Equal(ids, want) {
			t.Errorf("got %v (%v), want %v", ids, err, want)
		}
		if asked := c.asked("QueryBlocks"); asked[2] != 1 || asked[3] != 1 || asked[c.groupOf(pair)] != 2 {
			t.Errorf("calls %v, want two to group %d alone", asked, c.groupOf(pair))
		}
		calls := c.calls("QueryBlocks")
		again := calls[len(calls)-1]
		if _, point := clusterv1.BlockPoint(pair.tenant, pair.stream); len(again.refs) != 1 || again.refs[0].GetLo() != point || again.refs[0].GetHi() != point+1 ||
			!slices.Equal(again.request.(*nodev1.QueryRequest).GetTenants(), []string{pair.tenant}) {
			t.Errorf("read again: %v", again.request)
		}
		if rounds := extraRounds(t, registry); len(rounds) != 1 || rounds[tenantsBehind] != 1 {
			t.Errorf("extra rounds: %v", rounds)
		}
	})
}

// The stream was read when it still had the segment: only the stream is read again.
func TestStreamBehindIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, pair := transferCluster(t)
		r, registry := c.startMeasured(t, Options{})
		segment, output := newBlock("", pair.stream, 1), newBlock(pair.tenant, pair.stream, 2)
		c.add(segment)
		c.inOrder("QueryBlocks", []uint64{2, c.groupOf(pair)}, func(i int) {
			if i == 0 {
				c.issue(pair.stream, []*metastorev1.BlockMeta{segment}, output)
				c.accept(pair)
			}
		})
		ids, err := query(t.Context(), r, pair.tenant)
		if want := []string{blockID(2)}; err != nil || !slices.Equal(ids, want) {
			t.Errorf("got %v (%v), want %v", ids, err, want)
		}
		if asked := c.asked("QueryBlocks"); asked[2] != 2 || asked[3] != 1 || asked[c.groupOf(pair)] != 1 {
			t.Errorf("calls %v, want two to group 2 alone", asked)
		}
		if rounds := extraRounds(t, registry); len(rounds) != 1 || rounds[streamsBehind] != 1 {
			t.Errorf("extra rounds: %v", rounds)
		}
	})
}

// Groups that contradict each other for good do not keep a router busy.
func TestTransfersThatNeverFit(t *testing.T) {
	c, pair := transferCluster(t)
	r, registry := c.startMeasured(t, Options{})
	c.issue(pair.stream, nil, newBlock(pair.tenant, pair.stream, 1))
	c.deliver(pair)
	delete(c.transfers.accepted, pair) // an old backup, say
	_, err := query(t.Context(), r, pair.tenant)
	wantCode(t, err, codes.Unavailable)
	if asked := c.asked("QueryBlocks"); asked[2] != 1 || asked[c.groupOf(pair)] != 1+maxRereads {
		t.Errorf("calls %v", asked)
	}
	if rounds := extraRounds(t, registry); len(rounds) != 1 || rounds[tenantsBehind] != maxRereads {
		t.Errorf("extra rounds: %v", rounds)
	}
	if n := counter(t, registry, "skerry_router_transfer_exhausted_total", "reason", "transfers"); n != 1 {
		t.Errorf("%v queries were given up", n)
	}
	_, err = (&tenantService{router: r}).GetTenant(t.Context(), &metastorev1.GetTenantRequest{TenantId: pair.tenant})
	wantCode(t, err, codes.Unavailable)
	_, err = (&queryService{router: r}).QueryMetadataLabels(t.Context(), &metastorev1.QueryMetadataLabelsRequest{TenantId: []string{pair.tenant}, Query: "{}", Labels: []string{"l"}})
	wantCode(t, err, codes.Unavailable)
	// Others are not concerned.
	if _, err := query(t.Context(), r, "somebody-else"); err != nil {
		t.Error(err)
	}
}

// A stream that begins anew is not taken for one that is behind, nor are its
// transfers for old ones.
func TestTransfersOfANewIncarnation(t *testing.T) {
	c, pair := transferCluster(t)
	r := c.start(t, Options{})
	c.transfers.accepted[pair] = watermark{1, 50}
	c.transfers.issued[pair] = &nodev1.IssuedWatermark{Stream: pair.stream, Tenant: pair.tenant, Incarnation: 2}
	ids, err := query(t.Context(), r, pair.tenant)
	if err != nil || len(ids) != 0 {
		t.Errorf("got %v (%v)", ids, err)
	}
	c.transfers.issued[pair].Issued = 3
	block := newBlock(pair.tenant, pair.stream, 1)
	c.transfers.outbox[blockKey(block)] = fakeWaiting{pair, 3, block}
	if ids, err = query(t.Context(), r, pair.tenant); err != nil || !slices.Equal(ids, []string{blockID(1)}) {
		t.Errorf("got %v (%v)", ids, err)
	}
	c.transfers.accepted[pair] = watermark{2, 3}
	if ids, err = query(t.Context(), r, pair.tenant); err != nil || len(ids) != 0 {
		t.Errorf("accepted: got %v (%v)", ids, err)
	}
	// A block in a transfer that was never made.
	c.transfers.outbox[blockKey(block)] = fakeWaiting{pair, 4, block}
	_, err = query(t.Context(), r, pair.tenant)
	wantCode(t, err, codes.Internal)
}

// Labels and bounds are sets: what is read too often does not matter, what is not
// read does.
func TestLabelsAndBoundsReadTheTenantAgain(t *testing.T) {
	for _, call := range []string{"QueryLabels", "TenantStats"} {
		for name, test := range map[string]struct {
			first func(c *fakeCluster, p transferPair) uint64
			want  int // calls to the tenant's group
		}{
			"tenant first": {func(c *fakeCluster, p transferPair) uint64 { return c.groupOf(p) }, 2},
			"stream first": {func(*fakeCluster, transferPair) uint64 { return 2 }, 1},
		} {
			t.Run(call+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, pair := transferCluster(t)
					r := c.start(t, Options{})
					home := c.groupOf(pair)
					value := &typesv1.Labels{Labels: []*typesv1.LabelPair{{Name: "l", Value: "v"}}}
					bounds := &metastorev1.TenantStats{DataIngested: true, OldestProfileTime: 3, NewestProfileTime: 4}
					c.labels[2], c.stats[2] = []*typesv1.Labels{value}, bounds
					c.issue(pair.stream, nil, newBlock(pair.tenant, pair.stream, 1))
					first := test.first(c, pair)
					c.inOrder(call, []uint64{first, 2 + home - first}, func(i int) {
						if i == 0 {
							c.deliver(pair)
							c.mu.Lock()
							defer c.mu.Unlock()
							c.labels, c.stats = map[uint64][]*typesv1.Labels{home: {value}}, map[uint64]*metastorev1.TenantStats{home: bounds}
						}
					})
					if call == "QueryLabels" {
						answer, err := (&queryService{router: r}).QueryMetadataLabels(t.Context(), &metastorev1.QueryMetadataLabelsRequest{TenantId: []string{pair.tenant}, Query: "{}", Labels: []string{"l"}})
						if err != nil || len(answer.GetLabels()) != 1 || !proto.Equal(answer.GetLabels()[0], value) {
							t.Errorf("got %v (%v)", answer, err)
						}
					} else {
						answer, err := (&tenantService{router: r}).GetTenant(t.Context(), &metastorev1.GetTenantRequest{TenantId: pair.tenant})
						if err != nil || !proto.Equal(answer.GetStats(), bounds) {
							t.Errorf("got %v (%v)", answer, err)
						}
					}
					if asked := c.asked(call); asked[2] != 1 || asked[home] != test.want {
						t.Errorf("calls %v, want %d to group %d", asked, test.want, home)
					}
				})
			})
		}
	}
}

// A tenant's data may all leave the streams while tenants are listed.
func TestGetTenantsReadsStreamsFirst(t *testing.T) {
	c, pair := transferCluster(t)
	r := c.start(t, Options{})
	home := c.groupOf(pair)
	c.tenants[2] = []string{pair.tenant}
	c.after = func(e entry) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tenants = map[uint64][]string{home: {pair.tenant}}
	}
	answer, err := (&tenantService{router: r}).GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
	if err != nil || !slices.Equal(answer.GetTenantIds(), []string{pair.tenant}) {
		t.Errorf("got %v (%v)", answer, err)
	}
	tenantsSeen := false
	for _, e := range c.calls("ListTenants") {
		isTenants := e.refs[0].GetKeyspace() == tenantSpace
		if tenantsSeen && !isTenants {
			t.Error("a stream was read after a tenant")
		}
		tenantsSeen = tenantsSeen || isTenants
	}
}

func getBlocks(t testing.TB, r *Router, pair transferPair, numbers ...int) []string {
	t.Helper()
	list := &metastorev1.BlockList{Tenant: pair.tenant, Shard: pair.stream}
	for _, n := range numbers {
		list.Blocks = append(list.Blocks, blockID(n))
	}
	answer, err := (&indexService{router: r}).GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: list})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, block := range passed(t, answer).GetBlocks() {
		ids = append(ids, block.GetId())
	}
	return ids
}

func TestGetBlocksLooksIntoTheOutbox(t *testing.T) {
	c, pair := transferCluster(t)
	r := c.start(t, Options{})
	home := c.groupOf(pair)
	for n := range 3 {
		c.add(newBlock(pair.tenant, pair.stream, 2*n))
	}
	c.issue(pair.stream, nil, newBlock(pair.tenant, pair.stream, 1), newBlock(pair.tenant, pair.stream, 5))
	var seen map[uint64]int
	calls := func() map[uint64]int {
		now, before := c.asked("GetBlocks"), seen
		seen = c.asked("GetBlocks")
		for group := range now {
			now[group] -= before[group]
		}
		return now
	}
	for _, test := range []struct {
		ids, want    []int
		home, stream int
	}{
		{[]int{4, 0, 2}, []int{4, 0, 2}, 1, 0}, // the usual case
		{[]int{5, 4, 1, 4}, []int{5, 4, 1, 4}, 1, 1},
		{[]int{9, 5, 0, 7}, []int{5, 0}, 2, 1},
	} {
		var want []string
		for _, n := range test.want {
			want = append(want, blockID(n))
		}
		if got := getBlocks(t, r, pair, test.ids...); !slices.Equal(got, want) {
			t.Errorf("%v: got %v, want %v", test.ids, got, want)
		}
		if n := calls(); n[home] != test.home || n[2] != test.stream {
			t.Errorf("%v: calls %v", test.ids, n)
		}
	}
	// Only what is missing is asked for again.
	last := c.calls("GetBlocks")
	if got := last[len(last)-1].request.(*nodev1.GetBlocksRequest).GetIds(); !slices.Equal(got, []string{blockID(9), blockID(7)}) {
		t.Errorf("asked for %v", got)
	}
	// It leaves the outbox when it was not found yet where it goes.
	once := false
	c.after = func(e entry) {
		if e.call == "GetBlocks" && e.group == home && !once {
			once = true
			c.deliver(pair)
		}
	}
	if got := getBlocks(t, r, pair, 1); !slices.Equal(got, []string{blockID(1)}) {
		t.Errorf("got %v", got)
	}
	if n := calls(); n[home] != 2 || n[2] != 1 {
		t.Errorf("calls %v", n)
	}
}

func strictly(ctx context.Context) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs(StrictHeader, "1"))
}

// Segments come to one stream, and then to another one, between the reads of both.
func TestStrictQueriesAreSnapshots(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, pair := transferCluster(t)
			r, registry := c.startMeasured(t, Options{})
			var other uint32
			for c.truth.Lookup(streamSpace, clusterv1.StreamPoint(other)).GetGroupId() != 3 {
				other++
			}
			c.inOrder("QueryBlocks", []uint64{2, 3}, func(i int) {
				if i == 0 {
					c.add(newBlock("", pair.stream, 1))
					c.add(newBlock("", other, 2))
				}
			})
			ctx, want, calls := t.Context(), []string{blockID(2)}, 1
			if strict {
				ctx, want, calls = strictly(ctx), []string{blockID(1), blockID(2)}, 3
			}
			ids, err := query(ctx, r, pair.tenant)
			slices.Sort(ids)
			if err != nil || !slices.Equal(ids, want) {
				t.Errorf("strict %v: got %v (%v), want %v", strict, ids, err, want)
			}
			if asked := c.asked("QueryBlocks"); asked[2] != calls || asked[3] != calls || asked[c.groupOf(pair)] != calls {
				t.Errorf("strict %v: calls %v, want %d each", strict, asked, calls)
			}
			if rounds := extraRounds(t, registry); rounds[strictRound] != float64(calls-1) {
				t.Errorf("strict %v: extra rounds %v", strict, rounds)
			}
		})
	}
}

// What an earlier collect found is not part of a later one.
func TestStrictQueriesStartAfresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, pair := transferCluster(t)
		r := c.start(t, Options{})
		segment := newBlock("", pair.stream, 1)
		c.add(segment)
		c.labels[2] = []*typesv1.Labels{{Labels: []*typesv1.LabelPair{{Name: "l", Value: "old"}}}}
		compact := func(i int) {
			if i == 1 {
				c.issue(pair.stream, []*metastorev1.BlockMeta{segment}, newBlock(pair.tenant, pair.stream, 2))
				c.deliver(pair)
				c.mu.Lock()
				defer c.mu.Unlock()
				c.labels[2] = nil
			}
		}
		c.inOrder("QueryBlocks", []uint64{c.groupOf(pair), 2}, compact)
		if ids, err := query(strictly(t.Context()), r, pair.tenant); err != nil || !slices.Equal(ids, []string{blockID(2)}) {
			t.Errorf("got %v (%v)", ids, err)
		}
		c.labels[2] = []*typesv1.Labels{{Labels: []*typesv1.LabelPair{{Name: "l", Value: "old"}}}}
		c.inOrder("QueryLabels", []uint64{c.groupOf(pair), 2}, compact)
		answer, err := (&queryService{router: r}).QueryMetadataLabels(strictly(t.Context()), &metastorev1.QueryMetadataLabelsRequest{TenantId: []string{pair.tenant}, Query: "{}", Labels: []string{"l"}})
		if err != nil || len(answer.GetLabels()) != 0 {
			t.Errorf("got %v (%v)", answer, err)
		}
	})
}

// What one group answers at once is a snapshot; what changes all the time never is.
func TestStrictQueriesReadNoMoreThanNeeded(t *testing.T) {
	alone := newFakeCluster(t, 1, 1, 1)
	if _, err := query(strictly(t.Context()), alone.start(t, Options{}), "a"); err != nil || len(alone.calls("QueryBlocks")) != 1 {
		t.Errorf("%d calls (%v)", len(alone.calls("QueryBlocks")), err)
	}
	c, pair := transferCluster(t)
	r, registry := c.startMeasured(t, Options{})
	n := 0
	for _, ask := range []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := query(ctx, r, pair.tenant)
			return err
		},
		func(ctx context.Context) error {
			_, err := (&queryService{router: r}).QueryMetadataLabels(ctx, &metastorev1.QueryMetadataLabelsRequest{TenantId: []string{pair.tenant}, Query: "{}", Labels: []string{"l"}})
			return err
		},
		func(ctx context.Context) error {
			_, err := (&tenantService{router: r}).GetTenant(ctx, &metastorev1.GetTenantRequest{TenantId: pair.tenant})
			return err
		},
	} {
		var mu sync.Mutex
		calls := 0
		c.after = nil
		c.setBefore(func(e entry) error {
			mu.Lock()
			defer mu.Unlock()
			if e.group == 2 {
				calls++
			}
			return nil
		})
		if err := ask(strictly(t.Context())); err != nil || calls != 2 {
			t.Errorf("%d calls (%v), want 2", calls, err)
		}
		calls = 0
		c.after = func(e entry) {
			if e.group != 2 {
				return
			}
			n++
			c.add(newBlock("", pair.stream, n))
			c.mu.Lock()
			defer c.mu.Unlock()
			c.labels[2] = append(slices.Clone(c.labels[2]), &typesv1.Labels{Labels: []*typesv1.LabelPair{{Name: "l", Value: fmt.Sprint(n)}}})
			c.stats[2] = &metastorev1.TenantStats{DataIngested: true, NewestProfileTime: int64(n)}
		}
		wantCode(t, ask(strictly(t.Context())), codes.Unavailable)
		if calls != maxCollects {
			t.Errorf("%d calls, want %d", calls, maxCollects)
		}
	}
	for _, call := range []string{"QueryMetadata", "QueryMetadataLabels", "GetTenant"} {
		if n := counter(t, registry, "skerry_router_transfer_exhausted_total", "call", call); n != 1 {
			t.Errorf("%v of %s were given up", n, call)
		}
	}
}

func TestStrictQueriesTellTheirRounds(t *testing.T) {
	c, pair := transferCluster(t)
	r := c.start(t, Options{})
	client := metastorev1.NewMetadataQueryServiceClient(public(t, r, Options{}, nil))
	ctx := metadata.AppendToOutgoingContext(t.Context(), ExplainHeader, "1", StrictHeader, "1")
	var trailer metadata.MD
	if _, err := client.QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{TenantId: []string{pair.tenant}, Query: "{}"}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if e := explanation(t, trailer); e.GetExtraRounds() != 1 || e.GetGroupsAsked() != 3 || e.GetNodeCalls() != 6 {
		t.Errorf("got %v", e)
	}
}
