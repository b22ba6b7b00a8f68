package main

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/cmd/internal/blockview"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
	"github.com/skerrydb/skerry/router"
)

// fakeRouter keeps blocks in memory. Some tenants make it misbehave: see
// misbehave.
type fakeRouter struct {
	metastorev1.UnimplementedTenantServiceServer
	unserved
	*fakeCluster

	mutex  sync.Mutex
	blocks map[blockKey]*metastorev1.BlockMeta
	// Of compaction jobs under way, by name, and the segments that jobs have had.
	tokens map[string]uint64
	taken  map[string]bool
	token  uint64
}

// unserved is what no fake has a method for; those of fakeCluster take precedence.
type unserved struct {
	adminv1.UnimplementedAdminServiceServer
}

type blockKey struct {
	tenant string
	shard  uint32
	id     string
}

// startFakeRouter serves on a free port until stop is called.
func startFakeRouter() (addr string, stop func(), err error) {
	return startFakeRouterOf(newFakeCluster())
}

func startFakeRouterOf(cluster *fakeCluster) (addr string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(wirecodec.Codec{}),
		grpc.MaxRecvMsgSize(messageBytesMax), grpc.MaxSendMsgSize(messageBytesMax))
	fake := &fakeRouter{fakeCluster: cluster, blocks: map[blockKey]*metastorev1.BlockMeta{}, tokens: map[string]uint64{}, taken: map[string]bool{}}
	metastorev1.RegisterCompactionServiceServer(server, fake)
	metastorev1.RegisterIndexServiceServer(server, fake)
	metastorev1.RegisterMetadataQueryServiceServer(server, fake)
	metastorev1.RegisterTenantServiceServer(server, fake)
	adminv1.RegisterAdminServiceServer(server, fake)
	go server.Serve(listener)
	return listener.Addr().String(), server.Stop, nil
}

func (f *fakeRouter) AddBlock(_ context.Context, request *metastorev1.AddBlockRequest) (*metastorev1.AddBlockResponse, error) {
	block := request.GetBlock()
	if err := metastorev1.ValidateBlock(block); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.blocks[blockKey{block.TenantName(), block.GetShard(), block.GetId()}] = block
	return &metastorev1.AddBlockResponse{}, nil
}

func (f *fakeRouter) GetBlockMetadata(_ context.Context, request *metastorev1.GetBlockMetadataRequest) (*metastorev1.GetBlockMetadataResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	answer := &metastorev1.GetBlockMetadataResponse{}
	list := request.GetBlocks()
	for _, id := range list.GetBlocks() {
		if block := f.blocks[blockKey{list.GetTenant(), list.GetShard(), id}]; block != nil {
			answer.Blocks = append(answer.Blocks, block)
		}
	}
	return answer, nil
}

func (f *fakeRouter) QueryMetadata(ctx context.Context, request *metastorev1.QueryMetadataRequest) (*metastorev1.QueryMetadataResponse, error) {
	if blocks, err := misbehave(ctx, request.GetTenantId()); blocks != nil || err != nil {
		return &metastorev1.QueryMetadataResponse{Blocks: blocks}, err
	}
	if err := checkSelector(request.GetQuery()); err != nil {
		return nil, err
	}
	explain(ctx)
	answer := &metastorev1.QueryMetadataResponse{}
	for _, block := range f.find(request.GetTenantId(), request.GetStartTime(), request.GetEndTime()) {
		found := proto.Clone(block).(*metastorev1.BlockMeta)
		for _, dataset := range found.GetDatasets() {
			if len(request.GetLabels()) == 0 {
				dataset.Labels = nil
			}
		}
		answer.Blocks = append(answer.Blocks, found)
	}
	return answer, nil
}

func (f *fakeRouter) QueryMetadataLabels(ctx context.Context, request *metastorev1.QueryMetadataLabelsRequest) (*metastorev1.QueryMetadataLabelsResponse, error) {
	if _, err := misbehave(ctx, request.GetTenantId()); err != nil {
		return nil, err
	}
	if err := checkSelector(request.GetQuery()); err != nil {
		return nil, err
	}
	explain(ctx)
	rows := map[string]*typesv1.Labels{}
	for _, block := range f.find(request.GetTenantId(), request.GetStartTime(), request.GetEndTime()) {
		for _, dataset := range blockview.New(block).Datasets {
			for _, set := range dataset.Labels {
				row, key := &typesv1.Labels{}, ""
				for _, name := range request.GetLabels() {
					row.Labels = append(row.Labels, &typesv1.LabelPair{Name: name, Value: set[name]})
					key += set[name] + "\x00"
				}
				rows[key] = row
			}
		}
	}
	answer := &metastorev1.QueryMetadataLabelsResponse{}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		answer.Labels = append(answer.Labels, rows[key])
	}
	return answer, nil
}

// explain says what a query cost, to those who ask.
func explain(ctx context.Context) {
	if len(metadata.ValueFromIncomingContext(ctx, router.ExplainHeader)) == 0 {
		return
	}
	cost := func(n uint64) *nodev1.QueryCost {
		return &nodev1.QueryCost{
			Shards: 12 * n, ShardsSkipped: 5 * n, BlocksTested: 1000 * n, BlocksDecoded: 3 * n, BlocksReturned: 2 * n, BytesReturned: 1500 * n, BytesLoaded: 7 * n,
		}
	}
	encoded, err := (&adminv1.QueryExplanation{
		Cost: cost(3), GroupsAsked: 3, NodeCalls: 4, Retries: 1, Elapsed: 12_345_678,
		ExtraRounds: uint32(len(metadata.ValueFromIncomingContext(ctx, router.StrictHeader))),
		Groups: []*adminv1.GroupExplanation{
			{GroupId: 2, NodeId: "aaaaaaaa-1111", Cost: cost(2), NodeCalls: 3, Elapsed: 12_000_000},
			{GroupId: 3, NodeId: "\x1b[2J", Cost: cost(1), NodeCalls: 1, Elapsed: 345_678},
		},
	}).MarshalVT()
	if err != nil {
		panic(err)
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs(router.ExplainTrailer, string(encoded))); err != nil {
		panic(err)
	}
}

// checkSelector knows only that braces are needed.
func checkSelector(selector string) error {
	if !strings.HasPrefix(selector, "{") {
		return status.Errorf(codes.InvalidArgument, "selector %q does not parse", selector)
	}
	return nil
}

// find returns blocks of the tenants, and segments, that touch the time span.
func (f *fakeRouter) find(tenants []string, start, end int64) []*metastorev1.BlockMeta {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var found []*metastorev1.BlockMeta
	for key, block := range f.blocks {
		mine := key.tenant == "" || slices.Contains(tenants, key.tenant)
		if mine && block.GetMinTime() <= end && start <= block.GetMaxTime() {
			found = append(found, block)
		}
	}
	slices.SortFunc(found, func(a, b *metastorev1.BlockMeta) int { return strings.Compare(a.GetId(), b.GetId()) })
	return found
}

func (f *fakeRouter) GetTenants(context.Context, *metastorev1.GetTenantsRequest) (*metastorev1.GetTenantsResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	tenants := map[string]bool{}
	for _, block := range f.blocks {
		for _, dataset := range blockview.New(block).Datasets {
			tenants[dataset.Tenant] = true
		}
	}
	return &metastorev1.GetTenantsResponse{TenantIds: slices.Sorted(maps.Keys(tenants))}, nil
}

func (f *fakeRouter) GetTenant(ctx context.Context, request *metastorev1.GetTenantRequest) (*metastorev1.GetTenantResponse, error) {
	if _, err := misbehave(ctx, []string{request.GetTenantId()}); err != nil {
		return nil, err
	}
	return &metastorev1.GetTenantResponse{Stats: &metastorev1.TenantStats{
		DataIngested: true, OldestProfileTime: 1735787040000, NewestProfileTime: 1735787045125,
	}}, nil
}

func (f *fakeRouter) Status(context.Context, *adminv1.StatusRequest) (*adminv1.StatusResponse, error) {
	ranges := []*clusterv1.Range{
		{RangeId: 1, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Lo: 0, Hi: 0x5555555555555555, GroupId: 2, Epoch: 1},
		{RangeId: 2, Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM, Lo: 0x4000 << 48, Hi: 0, GroupId: 2, Epoch: 3},
	}
	if f.well {
		return &adminv1.StatusResponse{Version: "v1.2.3", Map: f.state.GetMap()}, nil
	}
	return &adminv1.StatusResponse{
		Version: "v1.2.3",
		Map: &clusterv1.RangeMap{
			Cluster: &clusterv1.Cluster{ClusterId: "c0ffee", MapVersion: 7},
			Nodes: []*clusterv1.Node{
				{NodeId: "aaaaaaaa-1111", RaftAddress: "n1:9099", ApiAddress: "n1:9095", Zone: "z1", State: clusterv1.NodeState_NODE_STATE_UP},
				{NodeId: "bbbbbbbb-2222", RaftAddress: "n2:9099", ApiAddress: "n2:9095", State: clusterv1.NodeState_NODE_STATE_UP},
			},
			Groups: []*clusterv1.Group{
				{GroupId: 1, Replicas: []*clusterv1.Replica{{ReplicaId: 1, NodeId: "aaaaaaaa-1111"}}},
				{GroupId: 2, Replicas: []*clusterv1.Replica{{ReplicaId: 2, NodeId: "aaaaaaaa-1111"}, {ReplicaId: 3, NodeId: "bbbbbbbb-2222"}}},
			},
			Ranges: ranges,
		},
		Nodes: []*adminv1.NodeStatus{
			{NodeId: "aaaaaaaa-1111", Replicas: []*nodev1.GroupReplica{
				{GroupId: 2, ReplicaId: 2, LeaderReplicaId: 2, Term: 5, AppliedIndex: 900, Blocks: 42, ObjectBytes: 3 << 20, Ranges: ranges},
			}},
			{NodeId: "bbbbbbbb-2222", Error: "dial n2:9095:\nconnection refused"},
			{NodeId: "cccccccc-3333", Replicas: []*nodev1.GroupReplica{{GroupId: 9, ReplicaId: 8, LeaderReplicaId: 1, Error: "\x1b[31mbroken"}}},
		},
	}, nil
}

// misbehave answers for tenants whose names ask for trouble.
func misbehave(ctx context.Context, tenants []string) ([]*metastorev1.BlockMeta, error) {
	switch strings.Join(tenants, ",") {
	case "hostile":
		return []*metastorev1.BlockMeta{
			{Id: "\x1b[2J", Tenant: 9, CreatedBy: -1, MinTime: -1 << 63, MaxTime: 1<<63 - 1, Size: 1<<64 - 1},
			{Datasets: []*metastorev1.Dataset{{Tenant: 1, Name: -5, Labels: []int32{1, 7, 8, 1 << 30}}, {Labels: []int32{-1}}}},
		}, nil
	case "big":
		return []*metastorev1.BlockMeta{{Id: strings.Repeat("x", 20<<20)}}, nil
	case "leaderless":
		return nil, status.Error(codes.Unavailable, "group 3 has no leader")
	case "slow":
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case "lines":
		return nil, status.Error(codes.Internal, "one\ntwo \x1b[2J")
	}
	return nil, nil
}
