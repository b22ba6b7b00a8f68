package router

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// explanation returns what the trailer says, nil if there is none.
func explanation(t testing.TB, trailer metadata.MD) *adminv1.QueryExplanation {
	t.Helper()
	values := trailer.Get(ExplainTrailer)
	if len(values) == 0 {
		return nil
	}
	e := &adminv1.QueryExplanation{}
	if err := e.UnmarshalVT([]byte(values[0])); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestExplainAddsUpTheGroups(t *testing.T) {
	c := newFakeCluster(t, 4, 2, 1)
	for group := uint64(2); group <= 5; group++ {
		c.costs[group] = &nodev1.QueryCost{Shards: group, BlocksTested: 10 * group, BytesLoaded: 1}
	}
	c.setBefore(failing("QueryLabels", 1, routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY)))
	registry := prometheus.NewRegistry()
	r, err := New(Options{}, c, c.seeds, nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	conn := public(t, r, Options{}, nil)
	client := metastorev1.NewMetadataQueryServiceClient(conn)
	var trailer metadata.MD
	asked := metadata.AppendToOutgoingContext(t.Context(), ExplainHeader, "1")
	// Every tenant's span is in one of the groups: all four are asked.
	tenants := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"}
	request := &metastorev1.QueryMetadataLabelsRequest{TenantId: tenants, Query: "{}", Labels: []string{"x"}}
	if _, err := client.QueryMetadataLabels(asked, request, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	got := explanation(t, trailer)
	want := &nodev1.QueryCost{Shards: 2 + 3 + 4 + 5, BlocksTested: 140, BytesLoaded: 4}
	if !proto.Equal(got.GetCost(), want) || got.GetGroupsAsked() != 4 || got.GetNodeCalls() != 5 || got.GetRetries() != 1 || got.GetElapsed() <= 0 {
		t.Errorf("got %v", got)
	}
	for i, group := range got.GetGroups() {
		if id := uint64(i + 2); group.GetGroupId() != id || group.GetNodeId() != "n1" || !proto.Equal(group.GetCost(), c.costs[id]) {
			t.Errorf("group %d: %v", i, group)
		}
	}
	if counted := counter(t, registry, "skerry_router_query_blocks_tested_total", "call", "QueryMetadataLabels"); counted != 140 {
		t.Errorf("counted %v tested blocks", counted)
	}
	// Who does not ask gets no trailer.
	if _, err := client.QueryMetadataLabels(t.Context(), request, grpc.Trailer(&trailer)); err != nil || explanation(t, trailer) != nil {
		t.Errorf("%v, trailer %v", err, trailer)
	}
	// A query that fails is explained as well: here, moved and then broken.
	c.move(t, clusterv1.Keyspace_KEYSPACE_STREAM, 0, 3)
	c.setBefore(func(e entry) error {
		if e.call == "QueryBlocks" && e.group == 3 {
			return grpc.ErrServerStopped // any error that is not retried
		}
		return nil
	})
	_, err = client.QueryMetadata(asked, &metastorev1.QueryMetadataRequest{TenantId: []string{""}, Query: "{}"}, grpc.Trailer(&trailer))
	if got := explanation(t, trailer); err == nil || got.GetNodeCalls() == 0 {
		t.Errorf("%v, %v", err, got)
	}
}

func TestSlowQueriesAreLogged(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	c.costs[2] = &nodev1.QueryCost{BlocksDecoded: 7}
	core, logs := observer.New(zap.WarnLevel)
	r, err := New(Options{SlowQuery: time.Nanosecond}, c, c.seeds, zap.New(core), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	s := &queryService{router: r}
	long := `{a="` + strings.Repeat("x", 10_000) + `"}`
	for range 100 {
		if _, err := s.QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: long}); err != nil {
			t.Fatal(err)
		}
	}
	lines := logs.FilterMessage("slow query").All()
	if len(lines) == 0 || len(lines) > 30 {
		t.Fatalf("%d lines of 100 slow queries", len(lines))
	}
	fields := lines[0].ContextMap()
	if fields["blocks_decoded"] != uint64(7) || fields["groups"] != uint32(1) || len(fields["selector"].(string)) > 2*loggedSelectorBytes {
		t.Errorf("got %v", fields)
	}
	quick, err := New(Options{SlowQuery: -1}, c, c.seeds, zap.New(core), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(quick.Close)
	logs.TakeAll()
	if _, err := (&queryService{router: quick}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{}"}); err != nil || logs.Len() > 0 {
		t.Errorf("%v, %d lines", err, logs.Len())
	}
}

// The explanation of a query over very many groups fits into a trailer.
func TestExplanationIsBounded(t *testing.T) {
	tally := newTally()
	for group := range uint64(5000) {
		tally.called(group, "0123456789abcdef0123456789abcdef0123", time.Duration(group))
		tally.answered(group, &nodev1.QueryCost{Shards: 1, BytesReturned: 1 << 60})
	}
	e := tally.explain()
	if e.GetGroupsAsked() != 5000 || e.GetCost().GetShards() != 5000 || len(e.GetGroups()) != explainedGroups || e.GetGroups()[0].GetGroupId() != 4800 {
		t.Errorf("%d groups asked, %d listed from %v", e.GetGroupsAsked(), len(e.GetGroups()), e.GetGroups()[0])
	}
	if size := e.SizeVT(); size > 32<<10 {
		t.Errorf("%d bytes", size)
	}
}
