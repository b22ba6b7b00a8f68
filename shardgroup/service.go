package shardgroup

import (
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/proto/selector"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// service is the node API over the node's groups.
type service struct{ node *Node }

// Service returns the node's API. Requests are not kept after a call returns,
// except that a proposal whose caller left may still hold its block.
func (n *Node) Service() nodev1.NodeServiceServer { return service{n} }

func (s service) AddBlock(ctx context.Context, request *nodev1.AddBlockRequest) (*nodev1.AddBlockResponse, error) {
	added, err := s.addBlock(ctx, request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	return &nodev1.AddBlockResponse{Added: added}, nil
}

func (s service) addBlock(ctx context.Context, request *nodev1.AddBlockRequest) (bool, error) {
	if len(request.GetBlock()) > metastorev1.MaxBlockBytes {
		return false, fmt.Errorf("%w: the block's metadata has %d bytes, at most %d are allowed", ErrBadRequest, len(request.GetBlock()), metastorev1.MaxBlockBytes)
	}
	if !request.GetRange().Valid() {
		return false, fmt.Errorf("%w: no valid range", ErrBadRequest)
	}
	group, err := s.group(request.GetGroupId())
	if err != nil {
		return false, err
	}
	result, err := group.Propose(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_ADD_BLOCK, RequestId: request.GetRequestId(),
		Range: request.GetRange(), Payload: request.GetBlock(),
	})
	if err != nil {
		return false, err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK:
		return true, nil
	case raftlogv1.Result_STATUS_ALREADY:
		return false, nil
	case raftlogv1.Result_STATUS_INVALID:
		return false, fmt.Errorf("%w: %s", ErrBadRequest, result.GetMessage())
	case raftlogv1.Result_STATUS_ROUTE:
		return false, &statemachine.RouteRefusal{Detail: result.GetRoute()}
	case raftlogv1.Result_STATUS_STALE_LEADER:
		return false, fmt.Errorf("%w: %s", ErrNotReady, result.GetMessage())
	default:
		return false, fmt.Errorf("%w: %s: %s", ErrRefused, result.GetStatus(), result.GetMessage())
	}
}

func (s service) GetBlocks(ctx context.Context, request *nodev1.GetBlocksRequest) (*nodev1.GetBlocksResponse, error) {
	ids := make([]ulid.ULID, len(request.GetIds()))
	for i, text := range request.GetIds() {
		id, err := metastorev1.ParseID(text)
		if err != nil {
			return nil, toStatus(err, request.GetGroupId())
		}
		ids[i] = id
	}
	blocks, err := read[[][]byte](ctx, s, request.GetGroupId(), statemachine.GetBlocks{
		Context: ctx, Range: request.GetRange(), Tenant: request.GetTenant(), Shard: request.GetShard(),
		IDs: ids, MaxBytes: request.GetMaxBytes(),
	}, request.GetRange())
	return &nodev1.GetBlocksResponse{Blocks: blocks}, err
}

func (s service) QueryBlocks(ctx context.Context, request *nodev1.QueryRequest) (*nodev1.QueryBlocksResponse, error) {
	query, err := blockQuery(ctx, request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	blocks, err := read[[]*nodev1.EncodedBlock](ctx, s, request.GetGroupId(), statemachine.QueryBlocks(query), query.Ranges...)
	return &nodev1.QueryBlocksResponse{Blocks: blocks}, err
}

func (s service) QueryLabels(ctx context.Context, request *nodev1.QueryRequest) (*nodev1.QueryLabelsResponse, error) {
	query, err := blockQuery(ctx, request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	labels, err := read[[]*typesv1.Labels](ctx, s, request.GetGroupId(), statemachine.QueryLabels(query), query.Ranges...)
	return &nodev1.QueryLabelsResponse{Labels: labels}, err
}

func blockQuery(ctx context.Context, request *nodev1.QueryRequest) (statemachine.BlockQuery, error) {
	matchers, err := selector.Parse(request.GetSelector())
	return statemachine.BlockQuery{
		Context: ctx, Ranges: request.GetRanges(), Tenants: request.GetTenants(),
		Start: request.GetStartTime(), End: request.GetEndTime(),
		Matchers: matchers, Labels: request.GetLabels(), MaxBytes: request.GetMaxBytes(),
	}, err
}

func (s service) ListTenants(ctx context.Context, request *nodev1.ListTenantsRequest) (*nodev1.ListTenantsResponse, error) {
	tenants, err := read[[]string](ctx, s, request.GetGroupId(), statemachine.ListTenants{Ranges: request.GetRanges()}, request.GetRanges()...)
	return &nodev1.ListTenantsResponse{Tenants: tenants}, err
}

func (s service) TenantStats(ctx context.Context, request *nodev1.TenantStatsRequest) (*nodev1.TenantStatsResponse, error) {
	stats, err := read[*metastorev1.TenantStats](ctx, s, request.GetGroupId(), statemachine.TenantStats{
		Ranges: request.GetRanges(), Tenant: request.GetTenant(),
	}, request.GetRanges()...)
	return &nodev1.TenantStatsResponse{Stats: stats}, err
}

// RangeMap reads the directory. The map of now is never older than one that
// the caller has seen; min_version only guards against a directory that was
// rewound.
func (s service) RangeMap(ctx context.Context, request *nodev1.RangeMapRequest) (*nodev1.RangeMapResponse, error) {
	m, err := read[*clusterv1.RangeMap](ctx, s, clusterv1.DirectoryGroup, statemachine.ReadMap{})
	if err == nil && (m == nil || m.GetCluster().GetMapVersion() < request.GetMinVersion()) {
		err = toStatus(fmt.Errorf("%w: the directory has map version %d, asked for %d", ErrNotReady, m.GetCluster().GetMapVersion(), request.GetMinVersion()), clusterv1.DirectoryGroup)
	}
	return &nodev1.RangeMapResponse{Map: m}, err
}

func (s service) GroupStatus(context.Context, *nodev1.GroupStatusRequest) (*nodev1.GroupStatusResponse, error) {
	response := &nodev1.GroupStatusResponse{NodeId: s.node.ID()}
	for _, id := range s.node.Groups() {
		if g := s.node.group(id); g != nil {
			response.Replicas = append(response.Replicas, g.describe())
		}
	}
	return response, nil
}

// describe reads the local replica, however far it is.
func (g *Group) describe() *nodev1.GroupReplica {
	replica := &nodev1.GroupReplica{GroupId: g.id, ReplicaId: g.replicaID}
	answer, err := g.ReadStale(statemachine.ReadStatus{})
	if err != nil {
		replica.Error = err.Error()
		return replica
	}
	status := answer.(statemachine.Status)
	replica.AppliedIndex, replica.LeaderEpoch, replica.LogTime = status.Applied, status.LeaderEpoch, status.LogTime
	replica.Blocks, replica.ObjectBytes, replica.Ranges = status.Blocks, status.ObjectBytes, status.Ranges
	if leader, term, known, err := g.host.GetLeaderID(g.id); err == nil && known {
		replica.LeaderReplicaId, replica.Term = leader, term
	}
	return replica
}

func (s service) group(id uint64) (*Group, error) {
	if g := s.node.group(id); g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("group %d: %w", id, ErrNotHere)
}

// read runs a query on a group and returns its answer, or a status error.
func read[T any](ctx context.Context, s service, groupID uint64, query statemachine.Query, ranges ...*clusterv1.RangeRef) (T, error) {
	var none T
	for _, ref := range ranges {
		if !ref.Valid() {
			return none, toStatus(fmt.Errorf("%w: no valid range", ErrBadRequest), groupID)
		}
	}
	g, err := s.group(groupID)
	if err != nil {
		return none, toStatus(err, groupID)
	}
	answer, err := g.Read(ctx, query)
	if err != nil {
		return none, toStatus(err, groupID)
	}
	return answer.(T), nil
}
