package router

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeCluster is a cluster without Raft: it holds the true map and the blocks,
// and its nodes check every reference against the truth, as groups do.
type fakeCluster struct {
	mu        sync.Mutex
	truth     *clusterv1.Map
	published *clusterv1.RangeMap // what RangeMap answers; the truth if nil
	blocks    map[string]*metastorev1.BlockMeta
	order     []string // keys of blocks, in the order of answers
	tenants   map[uint64][]string
	stats     map[uint64]*metastorev1.TenantStats
	labels    map[uint64][]*typesv1.Labels
	costs     map[uint64]*nodev1.QueryCost
	status    []*nodev1.GroupReplica // what GroupStatus answers, if set
	works     map[uint64]*fakeWork   // by group
	tombstone string                 // job of the only tombstone
	serial    int                    // of work
	// Called before a group answers a poll; an error is the answer.
	beforePoll func(ctx context.Context, group uint64) error
	noHints    bool
	// Nodes whose map can be watched, and what is behind of it.
	watchable map[string]*fakeWatch
	log       []entry
	// Called before every call, without the lock; an error is the answer.
	before func(e entry) error
	// Called after reads, without the lock.
	after     func(e entry)
	transfers fakeTransfers
}

// entry is a call that a node got.
type entry struct {
	ctx        context.Context
	node, call string
	group      uint64
	refs       []*clusterv1.RangeRef
	request    any
}

func newFakeCluster(t testing.TB, groups, streams, nodes int) *fakeCluster {
	t.Helper()
	return &fakeCluster{
		truth: mapOf(t, groups, streams, nodes), blocks: map[string]*metastorev1.BlockMeta{},
		tenants: map[uint64][]string{}, stats: map[uint64]*metastorev1.TenantStats{}, labels: map[uint64][]*typesv1.Labels{},
		costs: map[uint64]*nodev1.QueryCost{}, transfers: newFakeTransfers(),
	}
}

// mapOf lays out a cluster in which every node has a replica of every group.
func mapOf(t testing.TB, groups, streams, nodes int) *clusterv1.Map {
	t.Helper()
	source, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: "test", Node: &clusterv1.Node{NodeId: "n1"}, Groups: groups, StreamGroups: streams,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; i <= nodes; i++ {
		id := fmt.Sprintf("n%d", i)
		source.Nodes = append(source.Nodes, &clusterv1.Node{NodeId: id})
		for _, group := range source.Groups {
			group.Replicas = append(group.Replicas, &clusterv1.Replica{ReplicaId: group.GroupId*100 + uint64(i), NodeId: id, Role: clusterv1.ReplicaRole_REPLICA_ROLE_VOTER})
		}
	}
	return newMap(t, source)
}

func newMap(t testing.TB, source *clusterv1.RangeMap) *clusterv1.Map {
	t.Helper()
	m, err := clusterv1.NewMap(source)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// move gives the range that holds a point to a group, with a higher epoch. The
// published map stays as it was until publish.
func (c *fakeCluster) move(t testing.TB, keyspace clusterv1.Keyspace, point, group uint64) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.published == nil {
		c.published = c.truth.Proto()
	}
	source := proto.Clone(c.truth.Proto()).(*clusterv1.RangeMap)
	source.Cluster.MapVersion++
	for _, r := range source.Ranges {
		if r.Keyspace == keyspace && r.Contains(point) {
			r.GroupId = group
			r.Epoch++
		}
	}
	c.truth = newMap(t, source)
}

func (c *fakeCluster) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published = nil
}

func (c *fakeCluster) add(block *metastorev1.BlockMeta) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks[blockKey(block)] = block
	c.order = slices.Sorted(maps.Keys(c.blocks))
}

func blockKey(block *metastorev1.BlockMeta) string {
	return fmt.Sprintf("%s\x00%08x\x00%s", block.TenantName(), block.GetShard(), block.GetId())
}

func (c *fakeCluster) calls(call string) []entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []entry
	for _, e := range c.log {
		if e.call == call {
			found = append(found, e)
		}
	}
	return found
}

// NodeClient makes the cluster the router's Nodes.
func (c *fakeCluster) NodeClient(node *clusterv1.Node) (nodev1.NodeServiceClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.truth.Node(node.GetNodeId()) == nil {
		return nil, fmt.Errorf("no node %q", node.GetNodeId())
	}
	return Direct(&fakeNode{cluster: c, id: node.GetNodeId()}), nil
}

func (c *fakeCluster) seeds() []nodev1.NodeServiceClient {
	return []nodev1.NodeServiceClient{Direct(&fakeNode{cluster: c, id: "n1"})}
}

// start makes a router of the cluster and waits for the map.
func (c *fakeCluster) start(t testing.TB, options Options) *Router {
	t.Helper()
	r, err := New(options, c, c.seeds, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if _, err := r.Maps().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

type fakeNode struct {
	nodev1.UnimplementedNodeServiceServer
	cluster *fakeCluster
	id      string
}

// read is check, and then a read of the state in which the references held.
func (n *fakeNode) read(ctx context.Context, call string, group uint64, request any, refs []*clusterv1.RangeRef, read func(*fakeCluster)) error {
	if err := n.check(ctx, call, group, request, refs...); err != nil {
		return err
	}
	c := n.cluster
	c.mu.Lock()
	err := c.route(group, refs)
	if err == nil {
		read(c)
	}
	after := c.after
	c.mu.Unlock()
	if err == nil && after != nil {
		after(entry{ctx, n.id, call, group, refs, request})
	}
	return err
}

// check is the group's own view: every span must lie in ranges of the group, at
// the epoch that the request names.
func (n *fakeNode) check(ctx context.Context, call string, group uint64, request any, refs ...*clusterv1.RangeRef) error {
	c := n.cluster
	e := entry{ctx, n.id, call, group, refs, request}
	c.mu.Lock()
	c.log = append(c.log, e)
	before := c.before
	c.mu.Unlock()
	if before != nil {
		if err := before(e); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.route(group, refs)
}

// route refuses references to what the group does not own. The lock must be held.
func (c *fakeCluster) route(group uint64, refs []*clusterv1.RangeRef) error {
	reason := clusterv1.RouteError_REASON_UNSPECIFIED
	var hints []*clusterv1.Range
	for _, ref := range refs {
		for _, r := range c.truth.Ranges(ref.GetKeyspace()) {
			if !r.Overlaps(ref) {
				continue
			}
			hints = append(hints, r)
			switch {
			case r.GetGroupId() != group:
				reason = clusterv1.RouteError_REASON_NOT_OWNER
			case ref.GetEpoch() < r.GetEpoch():
				reason = clusterv1.RouteError_REASON_STALE_EPOCH
			case ref.GetEpoch() > r.GetEpoch():
				return routeFault(codes.Unavailable, clusterv1.RouteError_REASON_EPOCH_AHEAD)
			}
		}
	}
	if reason == clusterv1.RouteError_REASON_UNSPECIFIED {
		return nil
	}
	if c.noHints {
		hints = nil
	}
	return routeFault(codes.Aborted, reason, hints...)
}

func routeFault(code codes.Code, reason clusterv1.RouteError_Reason, hints ...*clusterv1.Range) error {
	s, err := status.New(code, "refused: "+reason.String()).WithDetails(&clusterv1.RouteError{Reason: reason, Current: hints})
	if err != nil {
		return err
	}
	return s.Err()
}

func (n *fakeNode) AddBlock(ctx context.Context, in *nodev1.AddBlockRequest) (*nodev1.AddBlockResponse, error) {
	if err := n.check(ctx, "AddBlock", in.GetGroupId(), in, in.GetRange()); err != nil {
		return nil, err
	}
	block := &metastorev1.BlockMeta{}
	if err := block.UnmarshalVT(in.GetBlock()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	n.cluster.add(block)
	return &nodev1.AddBlockResponse{Added: true}, nil
}

func (n *fakeNode) GetBlocks(ctx context.Context, in *nodev1.GetBlocksRequest) (*nodev1.GetBlocksResponse, error) {
	out := &nodev1.GetBlocksResponse{}
	err := n.read(ctx, "GetBlocks", in.GetGroupId(), in, []*clusterv1.RangeRef{in.GetRange()}, func(c *fakeCluster) {
		for _, id := range in.GetIds() {
			key := fmt.Sprintf("%s\x00%08x\x00%s", in.GetTenant(), in.GetShard(), id)
			if in.GetTenant() != "" && in.GetRange().GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
				if waiting := c.transfers.outbox[key]; waiting.block != nil {
					out.Blocks = append(out.Blocks, encode(waiting.block))
				}
			} else if block := c.blocks[key]; block != nil {
				out.Blocks = append(out.Blocks, encode(block))
			}
		}
	})
	return out, err
}

// QueryBlocks returns all blocks of the tenants, and all segments, whose points
// lie in the spans that were asked for.
func (n *fakeNode) QueryBlocks(ctx context.Context, in *nodev1.QueryRequest) (*nodev1.QueryBlocksResponse, error) {
	out := &nodev1.QueryBlocksResponse{}
	err := n.read(ctx, "QueryBlocks", in.GetGroupId(), in, in.GetRanges(), func(c *fakeCluster) {
		out.Cost = c.costs[in.GetGroupId()]
		out.Watermarks = c.transfers.watermarks(in.GetTenants(), in.GetRanges())
		for _, key := range c.order {
			block := c.blocks[key]
			if block.TenantName() != "" && !slices.Contains(in.GetTenants(), block.TenantName()) {
				continue
			}
			if refer(in.GetRanges(), block.TenantName(), block.GetShard()) {
				out.Blocks = append(out.Blocks, &nodev1.EncodedBlock{
					Tenant: block.TenantName(), Shard: block.GetShard(), Id: block.GetId(), Block: encode(block),
				})
			}
		}
		if waiting := c.transfers.waiting(in.GetTenants(), in.GetRanges()); len(waiting) > 0 {
			out.Blocks = append(out.Blocks, waiting...)
			slices.SortFunc(out.Blocks, compareBlocks)
		}
	})
	return out, err
}

// refer tells whether spans hold the point of a tenant's shard, or of a stream.
func refer(refs []*clusterv1.RangeRef, tenant string, shard uint32) bool {
	keyspace, point := clusterv1.BlockPoint(tenant, shard)
	return slices.ContainsFunc(refs, func(ref *clusterv1.RangeRef) bool {
		return ref.GetKeyspace() == keyspace && ref.Contains(point)
	})
}

func (n *fakeNode) QueryLabels(ctx context.Context, in *nodev1.QueryRequest) (*nodev1.QueryLabelsResponse, error) {
	out := &nodev1.QueryLabelsResponse{}
	err := n.read(ctx, "QueryLabels", in.GetGroupId(), in, in.GetRanges(), func(c *fakeCluster) {
		out.Labels, out.Cost = c.labels[in.GetGroupId()], c.costs[in.GetGroupId()]
		out.Watermarks = c.transfers.watermarks(in.GetTenants(), in.GetRanges())
	})
	return out, err
}

func (n *fakeNode) ListTenants(ctx context.Context, in *nodev1.ListTenantsRequest) (*nodev1.ListTenantsResponse, error) {
	out := &nodev1.ListTenantsResponse{}
	err := n.read(ctx, "ListTenants", in.GetGroupId(), in, in.GetRanges(), func(c *fakeCluster) {
		out.Tenants = c.tenants[in.GetGroupId()]
	})
	return out, err
}

func (n *fakeNode) TenantStats(ctx context.Context, in *nodev1.TenantStatsRequest) (*nodev1.TenantStatsResponse, error) {
	out := &nodev1.TenantStatsResponse{}
	err := n.read(ctx, "TenantStats", in.GetGroupId(), in, in.GetRanges(), func(c *fakeCluster) {
		out.Stats = c.stats[in.GetGroupId()]
		out.Watermarks = c.transfers.watermarks([]string{in.GetTenant()}, in.GetRanges())
	})
	return out, err
}

func (n *fakeNode) RangeMap(ctx context.Context, in *nodev1.RangeMapRequest) (*nodev1.RangeMapResponse, error) {
	if err := n.check(ctx, "RangeMap", 0, in); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	m := n.cluster.truth.Proto()
	if n.cluster.published != nil {
		m = n.cluster.published
	}
	return &nodev1.RangeMapResponse{Map: proto.Clone(m).(*clusterv1.RangeMap)}, nil
}

func (n *fakeNode) GroupStatus(ctx context.Context, in *nodev1.GroupStatusRequest) (*nodev1.GroupStatusResponse, error) {
	if err := n.check(ctx, "GroupStatus", 0, in); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.cluster.status != nil {
		return &nodev1.GroupStatusResponse{NodeId: n.id, Replicas: n.cluster.status}, nil
	}
	return &nodev1.GroupStatusResponse{NodeId: n.id, Replicas: []*nodev1.GroupReplica{{GroupId: 2, Blocks: 7}}}, nil
}

func encode(block *metastorev1.BlockMeta) []byte {
	encoded, err := block.MarshalVT()
	if err != nil {
		panic(err)
	}
	return encoded
}

// blockID makes a valid id; larger numbers sort later.
func blockID(n int) string { return fmt.Sprintf("01J8E68YM0Z2RRKCY9%08d", n) }

// newBlock makes a block of a tenant, or a segment for "".
func newBlock(tenant string, shard uint32, n int) *metastorev1.BlockMeta {
	block := &metastorev1.BlockMeta{FormatVersion: 1, Id: blockID(n), Shard: shard, MinTime: 1, MaxTime: 2, StringTable: []string{""}}
	if tenant != "" {
		block.StringTable = append(block.StringTable, tenant)
		block.Tenant = 1
	}
	return block
}

// passed decodes an answer as a client would: blocks travel as unknown fields.
func passed[M proto.Message](t testing.TB, message M) M {
	t.Helper()
	encoded, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	decoded := message.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(encoded, decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

// wantCode also demands what every public error promises: no details.
func wantCode(t testing.TB, err error, want codes.Code) *status.Status {
	t.Helper()
	s, ok := status.FromError(err)
	if !ok || s.Code() != want {
		t.Fatalf("got error %v, want code %v", err, want)
	}
	if len(s.Details()) != 0 {
		t.Fatalf("public error carries details: %v", s.Details())
	}
	return s
}
