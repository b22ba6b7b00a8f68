package router

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/raftnode"
)

// listen runs a server on a loopback port and returns its address.
func listen(t testing.TB, server *grpc.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return listener.Addr().String()
}

func dial(t testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// public serves a router over gRPC and returns a connection of an ordinary
// protobuf client, without our codec.
func public(t testing.TB, r *Router, options Options, registerer prometheus.Registerer) *grpc.ClientConn {
	t.Helper()
	serverOptions, err := ServerOptions(options, nil, registerer)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(serverOptions...)
	r.RegisterPublic(server)
	r.RegisterAdmin(server)
	return dial(t, listen(t, server), grpc.WithDefaultCallOptions(
		grpc.MaxCallSendMsgSize(2*MaxMessageBytes), grpc.MaxCallRecvMsgSize(MaxMessageBytes)))
}

func TestBlocksPassThroughToAnOrdinaryClient(t *testing.T) {
	c := newFakeCluster(t, 4, 2, 1)
	conn := public(t, c.start(t, Options{}), Options{}, nil)
	index := metastorev1.NewIndexServiceClient(conn)
	var want []*metastorev1.BlockMeta
	for i := range 30 {
		block := newBlock([]string{"", "a", "b"}[i%3], uint32(i%5), i)
		// More than one byte of length, and a field that nobody knows yet.
		block.Datasets = []*metastorev1.Dataset{{Name: 0, TableOfContents: make([]uint64, 200), Labels: []int32{0}}}
		block.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 500, protowire.VarintType), 7))
		want = append(want, block)
		if _, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: block}); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(want, func(a, b *metastorev1.BlockMeta) int { return strings.Compare(blockKey(a), blockKey(b)) })
	for name, options := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor(gzip.Name)}} {
		answer, err := metastorev1.NewMetadataQueryServiceClient(conn).QueryMetadata(t.Context(),
			&metastorev1.QueryMetadataRequest{TenantId: []string{"a", "b"}, Query: "{}"}, options...)
		if err != nil {
			t.Fatal(err)
		}
		if wanted := (&metastorev1.QueryMetadataResponse{Blocks: want}); !proto.Equal(answer, wanted) {
			t.Errorf("%s: got %d blocks, want %d equal ones", name, len(answer.GetBlocks()), len(want))
		}
	}
	ids := []string{want[1].GetId(), blockID(999), want[0].GetId(), want[1].GetId()}
	got, err := index.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{
		Blocks: &metastorev1.BlockList{Tenant: want[0].TenantName(), Shard: want[0].GetShard(), Blocks: ids},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want[0].GetShard() != want[1].GetShard() {
		t.Fatal("the test needs two blocks of one shard")
	}
	if wanted := (&metastorev1.GetBlockMetadataResponse{Blocks: []*metastorev1.BlockMeta{want[1], want[0], want[1]}}); !proto.Equal(got, wanted) {
		t.Errorf("got %v", got)
	}
}

func TestBadInput(t *testing.T) {
	c := newFakeCluster(t, 2, 1, 1)
	conn := public(t, c.start(t, Options{}), Options{}, nil)
	index := metastorev1.NewIndexServiceClient(conn)
	with := func(change func(*metastorev1.BlockMeta)) *metastorev1.AddBlockRequest {
		block := newBlock("a", 1, 1)
		change(block)
		return &metastorev1.AddBlockRequest{Block: block}
	}
	dataset := func(d *metastorev1.Dataset) *metastorev1.AddBlockRequest {
		return with(func(b *metastorev1.BlockMeta) { b.Datasets = []*metastorev1.Dataset{d} })
	}
	for name, test := range map[string]struct {
		request *metastorev1.AddBlockRequest
		text    string // "" for OK
	}{
		"no block":          {&metastorev1.AddBlockRequest{}, "no block"},
		"empty block":       {&metastorev1.AddBlockRequest{Block: &metastorev1.BlockMeta{}}, "id"},
		"short id":          {with(func(b *metastorev1.BlockMeta) { b.Id = "short" }), `"short"`},
		"id overflows":      {with(func(b *metastorev1.BlockMeta) { b.Id = "8" + strings.Repeat("0", 25) }), "id"},
		"id not base32":     {with(func(b *metastorev1.BlockMeta) { b.Id = strings.Repeat("!", 26) }), "id"},
		"id in lower case":  {with(func(b *metastorev1.BlockMeta) { b.Id = strings.ToLower(b.Id) }), "id"},
		"tenant reference":  {with(func(b *metastorev1.BlockMeta) { b.Tenant = 2 }), "tenant refers to string 2 of 2"},
		"negative creator":  {with(func(b *metastorev1.BlockMeta) { b.CreatedBy = -1 }), "created_by"},
		"first string":      {with(func(b *metastorev1.BlockMeta) { b.StringTable[0] = "x" }), "string_table[0]"},
		"dataset tenant":    {dataset(&metastorev1.Dataset{Tenant: 9}), "dataset 0: tenant"},
		"dataset name":      {dataset(&metastorev1.Dataset{Name: 9}), "dataset 0: name"},
		"label reference":   {dataset(&metastorev1.Dataset{Labels: []int32{1, 0, 9}}), "labels"},
		"negative count":    {dataset(&metastorev1.Dataset{Labels: []int32{-1}}), "labels"},
		"truncated set":     {dataset(&metastorev1.Dataset{Labels: []int32{2, 0, 1}}), "labels"},
		"only an id":        {&metastorev1.AddBlockRequest{Block: &metastorev1.BlockMeta{Id: blockID(5)}}, ""},
		"times reversed":    {with(func(b *metastorev1.BlockMeta) { b.MinTime, b.MaxTime = 9, 1 }), ""},
		"high level, shard": {with(func(b *metastorev1.BlockMeta) { b.CompactionLevel, b.Shard, b.FormatVersion = 99, 1<<32-1, 77 }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(c.calls("AddBlock"))
			_, err := index.AddBlock(t.Context(), test.request)
			if test.text == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if s := wantCode(t, err, codes.InvalidArgument); !strings.Contains(s.Message(), test.text) {
				t.Errorf("got %q, want %q in it", s.Message(), test.text)
			}
			if len(c.calls("AddBlock")) != before {
				t.Error("a group was asked")
			}
		})
	}

	for name, list := range map[string]*metastorev1.BlockList{
		"malformed id": {Blocks: []string{blockID(1), "nope"}},
		"empty id":     {Blocks: []string{""}},
	} {
		_, err := index.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: list})
		if status := wantCode(t, err, codes.InvalidArgument); !strings.Contains(status.Message(), "invalid block id") {
			t.Errorf("%s: got %q", name, status.Message())
		}
	}
	for name, list := range map[string]*metastorev1.BlockList{
		"missing list": nil,
		"empty list":   {Tenant: "a"},
		"unknown id":   {Tenant: "nobody", Shard: 3, Blocks: []string{blockID(1)}},
	} {
		answer, err := index.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: list})
		if err != nil || len(answer.GetBlocks()) != 0 {
			t.Errorf("%s: got %v, %v, want an empty answer", name, answer, err)
		}
	}

	query := metastorev1.NewMetadataQueryServiceClient(conn)
	_, err := query.QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{Query: "{}"})
	wantCode(t, err, codes.InvalidArgument)
	_, err = query.QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{a"})
	wantCode(t, err, codes.InvalidArgument)
	unknown := &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{}"}
	unknown.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 77, protowire.BytesType), "later"))
	if _, err := query.QueryMetadata(t.Context(), unknown); err != nil {
		t.Errorf("unknown fields: %v", err)
	}

	_, err = metastorev1.NewTenantServiceClient(conn).DeleteTenant(t.Context(), &metastorev1.DeleteTenantRequest{TenantId: "a"})
	wantCode(t, err, codes.InvalidArgument)
	// One bad report must not cost a worker its other leases.
	_, err = metastorev1.NewCompactionServiceClient(conn).PollCompactionJobs(t.Context(), &metastorev1.PollCompactionJobsRequest{
		StatusUpdates: []*metastorev1.CompactionJobStatusUpdate{{}, {Name: "x"}, {Name: "1-Tacme-S1-L0", Status: 77}},
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHugeMessageLeavesTheServerAlive(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	conn := public(t, c.start(t, Options{}), Options{}, nil)
	index := metastorev1.NewIndexServiceClient(conn)
	block := newBlock("a", 1, 1)
	block.StringTable = append(block.StringTable, strings.Repeat("x", MaxMessageBytes))
	_, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: block})
	wantCode(t, err, codes.ResourceExhausted) // from gRPC itself, before any service
	if _, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: newBlock("a", 1, 1)}); err != nil {
		t.Errorf("the server does not work any more: %v", err)
	}
}

func TestPanicInAHandlerIsInternal(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	conn := public(t, c.start(t, Options{}), Options{}, nil)
	c.setBefore(func(entry) error { panic("boom") })
	index := metastorev1.NewIndexServiceClient(conn)
	_, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: newBlock("a", 1, 1)})
	if s := wantCode(t, err, codes.Internal); strings.Contains(s.Message(), "boom") {
		t.Errorf("the panic's text went out: %q", s.Message())
	}
	c.setBefore(nil)
	if _, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: newBlock("a", 1, 1)}); err != nil {
		t.Errorf("the server does not work any more: %v", err)
	}
}

func TestCancellationReachesTheNode(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	conn := public(t, c.start(t, Options{}), Options{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attempts := make(chan struct{}, 1000)
	c.setBefore(func(e entry) error {
		if e.call == "QueryBlocks" {
			attempts <- struct{}{}
			cancel()
			return routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY)
		}
		return nil
	})
	_, err := metastorev1.NewMetadataQueryServiceClient(conn).QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{}"})
	wantCode(t, err, codes.Canceled)
	if len(attempts) == 0 {
		t.Error("the request never reached a node")
	}
}

// connected finds nodes behind real connections.
type connected map[string]nodev1.NodeServiceClient

func (n connected) NodeClient(node *clusterv1.Node) (nodev1.NodeServiceClient, error) {
	if client := n[node.GetNodeId()]; client != nil {
		return client, nil
	}
	return nil, errors.New("unknown node " + node.GetNodeId())
}

// The same corrections arrive over connections: details survive the wire.
func TestNodesBehindConnections(t *testing.T) {
	c := newFakeCluster(t, 4, 2, 3)
	nodes := connected{}
	servers := map[string]*grpc.Server{}
	for _, id := range []string{"n1", "n2", "n3"} {
		options, err := ServerOptions(Options{}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		servers[id] = grpc.NewServer(options...)
		nodev1.RegisterNodeServiceServer(servers[id], &fakeNode{cluster: c, id: id})
		nodes[id] = nodev1.NewNodeServiceClient(dial(t, listen(t, servers[id]), DialOptions(nil)...))
	}
	r, err := New(Options{}, nodes, StaticSeeds(nodes["n1"]), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Maps().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 20 {
		block := newBlock([]string{"", "a", "b"}[i%3], uint32(i), i)
		keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
		c.move(t, keyspace, point, uint64(2+i%4))
		if i == 10 {
			servers["n2"].Stop()
		}
		if err := addBlock(t.Context(), r, block); err != nil {
			t.Fatal(err)
		}
		want = append(want, blockKey(block))
	}
	slices.Sort(want)
	answer, err := (&queryService{router: r}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{"a", "b"}, Query: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, block := range passed(t, answer).GetBlocks() {
		got = append(got, blockKey(block))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	status, err := (&adminService{router: r}).Status(t.Context(), &adminv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range status.GetNodes() {
		if down := node.GetNodeId() == "n2"; down != (node.GetError() != "") || down != (len(node.GetReplicas()) == 0) {
			t.Errorf("got status %v", node)
		}
	}
	if len(status.GetNodes()) != 3 || status.GetMap().GetCluster().GetClusterId() != "test" {
		t.Errorf("got status %v", status)
	}
}

func TestRaftNodeService(t *testing.T) {
	c := newFakeCluster(t, 3, 1, 1)
	options := Options{ID: "r7", AdvertiseAddress: "host:9095", Version: "1.2", Revision: "abc"}
	conn := public(t, c.start(t, options), options, nil)
	client := raftnode.NewRaftNodeServiceClient(conn)
	answer, err := client.NodeInfo(t.Context(), &raftnode.NodeInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	info := answer.GetNode()
	if info.GetServerId() != "r7" || info.GetLeaderId() != "r7" || info.GetState() != "Follower" || info.GetCurrentTerm() != 1 ||
		info.GetAdvertisedAddress() != "host:9095" || info.GetBuildVersion() != "1.2" || info.GetBuildRevision() != "abc" {
		t.Errorf("got %v", info)
	}
	stats := map[string]string{}
	for i, name := range info.GetStats().GetName() {
		stats[name] = info.GetStats().GetValue()[i]
	}
	if stats["map_version"] != "1" || stats["groups"] != "4" {
		t.Errorf("got stats %v", stats)
	}
	index, err := client.ReadIndex(t.Context(), &raftnode.ReadIndexRequest{})
	if err != nil || index.GetCommitIndex() != 1 || index.GetTerm() != 1 {
		t.Errorf("got %v, %v", index, err)
	}
	_, add := client.AddNode(t.Context(), &raftnode.AddNodeRequest{})
	_, remove := client.RemoveNode(t.Context(), &raftnode.RemoveNodeRequest{})
	_, promote := client.PromoteToLeader(t.Context(), &raftnode.PromoteToLeaderRequest{})
	_, demote := client.DemoteLeader(t.Context(), &raftnode.DemoteLeaderRequest{})
	for _, err := range []error{add, remove, promote, demote} {
		wantCode(t, err, codes.InvalidArgument)
	}
	c.setBefore(failing("RangeMap", 1<<30, errors.New("down")))
	_, err = client.ReadIndex(t.Context(), &raftnode.ReadIndexRequest{})
	wantCode(t, err, codes.Unavailable)
}

func TestHealth(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	r := c.start(t, Options{})
	client := healthv1.NewHealthClient(public(t, r, Options{}, nil))
	check := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "pyroscope.metastore"} {
			answer, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
			if err != nil || answer.GetStatus() != want {
				t.Errorf("%q: got %v, %v, want %v", service, answer.GetStatus(), err, want)
			}
		}
	}
	check(healthv1.HealthCheckResponse_SERVING)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := client.Watch(ctx, &healthv1.HealthCheckRequest{Service: HealthService})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := watch.Recv(); err != nil || first.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", first, err)
	}
	r.SetServing(false)
	if next, err := watch.Recv(); err != nil || next.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("got %v, %v", next, err)
	}
	check(healthv1.HealthCheckResponse_NOT_SERVING)
}

func TestTooManyRequestsAreRefusedAtOnce(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	options := Options{MaxReads: 2, MaxQueuedReads: 3}
	registry := prometheus.NewRegistry()
	conn := public(t, c.start(t, options), options, registry)
	release, entered := make(chan struct{}), make(chan struct{}, 100)
	c.setBefore(func(e entry) error {
		if e.call == "ListTenants" {
			entered <- struct{}{}
			<-release
		}
		return nil
	})
	tenants := metastorev1.NewTenantServiceClient(conn)
	results := make(chan error, 10)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			_, err := tenants.GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
			results <- err
		})
	}
	for range 5 {
		wantCode(t, <-results, codes.Unavailable)
	}
	for range 2 {
		<-entered
	}
	if len(entered) != 0 {
		t.Error("more than 2 run at a time")
	}
	// Writes and health checks have places of their own.
	if _, err := metastorev1.NewIndexServiceClient(conn).AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: newBlock("a", 1, 1)}); err != nil {
		t.Errorf("a write is held up by reads: %v", err)
	}
	if _, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Errorf("a health check is held up: %v", err)
	}
	// Who waits can leave.
	close(release)
	all.Wait()
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := counter(t, registry, "skerry_server_refused_requests_total", "kind", "read"); got != 5 {
		t.Errorf("counted %v refusals, want 5", got)
	}
}

func TestWaitingRequestCanBeCancelled(t *testing.T) {
	l := newLimiter(1, 1, prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}))
	if err := l.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Again and again: who leaves gives the place in the queue back.
	for range 3 {
		wantCode(t, l.enter(ctx), codes.Canceled)
	}
	l.leave()
	if err := l.enter(t.Context()); err != nil {
		t.Errorf("the place was lost: %v", err)
	}
}

func TestRequestMetrics(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	registry := prometheus.NewRegistry()
	conn := public(t, c.start(t, Options{}), Options{}, registry)
	index := metastorev1.NewIndexServiceClient(conn)
	for range 3 {
		if _, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: newBlock("a", 1, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{})
	wantCode(t, err, codes.InvalidArgument)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, family := range families {
		if family.GetName() != "pyroscope_request_duration_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			if labels["method"] != "gRPC" || labels["ws"] != "false" || labels["route"] != "/metastore.v1.IndexService/AddBlock" || len(labels) != 4 {
				t.Errorf("got labels %v", labels)
			}
			histogram := metric.GetHistogram()
			if len(histogram.GetBucket()) == 0 || len(histogram.GetPositiveSpan()) == 0 {
				t.Errorf("want classic and native buckets, got %v", histogram)
			}
			got[labels["status_code"]] = histogram.GetSampleCount()
		}
	}
	if len(got) != 2 || got["success"] != 3 || got["error"] != 1 {
		t.Errorf("got counts %v", got)
	}
}

func TestRouterMetrics(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	registry := prometheus.NewRegistry()
	r, err := New(Options{}, c, c.seeds, nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Maps().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.setBefore(failing("AddBlock", 2, routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY)))
	if err := addBlock(t.Context(), r, newBlock("a", 1, 1)); err != nil {
		t.Fatal(err)
	}
	if got := counter(t, registry, "skerry_router_attempts_total", "outcome", "not_ready"); got != 2 {
		t.Errorf("counted %v attempts that found no leader, want 2", got)
	}
	if got := counter(t, registry, "skerry_router_attempts_total", "outcome", "ok"); got != 1 {
		t.Errorf("counted %v good attempts, want 1", got)
	}
	if _, err := New(Options{}, c, c.seeds, nil, registry); err == nil {
		t.Error("two routers share one registerer")
	}
}

func counter(t testing.TB, registry *prometheus.Registry, name, label, value string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, l := range metric.GetLabel() {
				if family.GetName() == name && l.GetName() == label && l.GetValue() == value {
					return metric.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// Connections that reach their age are closed behind their requests.
func TestConnectionAgeIsGraceful(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	options := Options{MaxConnectionAge: 50 * time.Millisecond, MaxConnectionAgeGrace: time.Second}
	conn := public(t, c.start(t, options), options, nil)
	index := metastorev1.NewIndexServiceClient(conn)
	// Connections end of age all the time; no request may notice.
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if _, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: newBlock("a", 1, 1)}); err != nil {
			t.Fatal(err)
		}
	}
}
