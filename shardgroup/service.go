package shardgroup

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine"
)

// service is the node API over the node's groups.
type service struct {
	// Every call is there, or the build fails.
	nodev1.UnsafeNodeServiceServer
	node *Node
}

// Service returns the node's API. Requests are not kept after a call returns,
// except that a proposal whose caller left may still hold its block.
func (n *Node) Service() nodev1.NodeServiceServer { return service{node: n} }

func (s service) AddBlock(ctx context.Context, request *nodev1.AddBlockRequest) (*nodev1.AddBlockResponse, error) {
	block, err := checkAddBlock(request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	return s.AddCheckedBlock(ctx, request, block)
}

// AddCheckedBlock is AddBlock for a router in the same process, which has decoded and
// checked the block of the request as AddBlock would: it is valid and within limits.
func (s service) AddCheckedBlock(ctx context.Context, request *nodev1.AddBlockRequest, block *metastorev1.BlockMeta) (*nodev1.AddBlockResponse, error) {
	added, err := s.node.proposeBlock(ctx, request, s.node.counting(block))
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	return &nodev1.AddBlockResponse{Added: added}, nil
}

// proposeBlock adds a block that was checked, and reports whether it is new. What
// was applied is told, see proposeAnd.
func (n *Node) proposeBlock(ctx context.Context, request *nodev1.AddBlockRequest, applied func(*raftlogv1.Result)) (bool, error) {
	if err := n.roomForBlocks(); err != nil {
		return false, err
	}
	group, err := service{node: n}.dataGroup(request.GetGroupId())
	if err != nil {
		return false, err
	}
	result, err := group.proposeAnd(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_ADD_BLOCK, RequestId: request.GetRequestId(),
		Range: request.GetRange(), Payload: request.GetBlock(),
	}, applied)
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

// checkAddBlock refuses what would only be refused after it was replicated, and
// what is too large to be replicated. Nothing but this bounds the log.
func checkAddBlock(request *nodev1.AddBlockRequest) (*metastorev1.BlockMeta, error) {
	if len(request.GetBlock()) > metastorev1.MaxBlockBytes {
		return nil, fmt.Errorf("%w: the block's metadata has %d bytes, at most %d are allowed", ErrBadRequest, len(request.GetBlock()), metastorev1.MaxBlockBytes)
	}
	if len(request.GetRequestId()) != requestIDBytes {
		return nil, fmt.Errorf("%w: the request id has %d bytes, want %d", ErrBadRequest, len(request.GetRequestId()), requestIDBytes)
	}
	if !request.GetRange().Valid() {
		return nil, fmt.Errorf("%w: no valid range", ErrBadRequest)
	}
	block, err := metastorev1.DecodeBlock(request.GetBlock())
	if err != nil {
		return nil, fmt.Errorf("%w: not a block's metadata: %w", ErrBadRequest, err)
	}
	if err := metastorev1.ValidateBlock(block); err != nil {
		return nil, err
	}
	return block, metastorev1.CheckLimits(block)
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
	what := reading{request.GetGroupId(), []*clusterv1.RangeRef{request.GetRange()}, answerBytes(request.GetMaxBytes())}
	blocks, err := read[[][]byte](ctx, s, what, func(ctx context.Context, maxBytes uint64) statemachine.Query {
		return statemachine.GetBlocks{
			Context: ctx, Range: request.GetRange(), Tenant: request.GetTenant(), Shard: request.GetShard(),
			IDs: ids, MaxBytes: maxBytes,
		}
	})
	return &nodev1.GetBlocksResponse{Blocks: blocks}, err
}

func (s service) QueryBlocks(ctx context.Context, request *nodev1.QueryRequest) (*nodev1.QueryBlocksResponse, error) {
	query, err := blockQuery(request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	answer, err := read[*nodev1.QueryBlocksResponse](ctx, s, readingOf(request), func(ctx context.Context, maxBytes uint64) statemachine.Query {
		query.Context, query.MaxBytes = ctx, maxBytes
		return statemachine.QueryBlocks(query)
	})
	s.queried(request, answer.GetCost())
	return answer, err
}

func (s service) QueryLabels(ctx context.Context, request *nodev1.QueryRequest) (*nodev1.QueryLabelsResponse, error) {
	query, err := blockQuery(request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	answer, err := read[*nodev1.QueryLabelsResponse](ctx, s, readingOf(request), func(ctx context.Context, maxBytes uint64) statemachine.Query {
		query.Context, query.MaxBytes = ctx, maxBytes
		return statemachine.QueryLabels(query)
	})
	s.queried(request, answer.GetCost())
	return answer, err
}

func blockQuery(request *nodev1.QueryRequest) (statemachine.BlockQuery, error) {
	matchers, err := selector.Parse(request.GetSelector())
	return statemachine.BlockQuery{
		Ranges: request.GetRanges(), Tenants: request.GetTenants(),
		Start: request.GetStartTime(), End: request.GetEndTime(),
		Matchers: matchers, Labels: request.GetLabels(),
	}, err
}

func readingOf(request *nodev1.QueryRequest) reading {
	return reading{request.GetGroupId(), request.GetRanges(), answerBytes(request.GetMaxBytes())}
}

// queried counts what a query cost; nil if it failed.
func (s service) queried(request *nodev1.QueryRequest, cost *nodev1.QueryCost) {
	if g := s.node.group(request.GetGroupId()); g != nil {
		g.metrics.queried(cost)
	}
}

// maxAnswerBytes bounds every answer, whatever the caller allows.
const maxAnswerBytes = 100 << 20

func answerBytes(allowed uint64) uint64 {
	if allowed == 0 {
		return maxAnswerBytes
	}
	return min(allowed, maxAnswerBytes)
}

func (s service) ListTenants(ctx context.Context, request *nodev1.ListTenantsRequest) (*nodev1.ListTenantsResponse, error) {
	tenants, err := read[[]string](ctx, s, reading{request.GetGroupId(), request.GetRanges(), maxAnswerBytes}, func(ctx context.Context, _ uint64) statemachine.Query {
		return statemachine.ListTenants{Context: ctx, Ranges: request.GetRanges()}
	})
	return &nodev1.ListTenantsResponse{Tenants: tenants}, err
}

func (s service) TenantStats(ctx context.Context, request *nodev1.TenantStatsRequest) (*nodev1.TenantStatsResponse, error) {
	return read[*nodev1.TenantStatsResponse](ctx, s, reading{request.GetGroupId(), request.GetRanges(), maxAnswerBytes}, func(ctx context.Context, _ uint64) statemachine.Query {
		return statemachine.TenantStats{Context: ctx, Ranges: request.GetRanges(), Tenant: request.GetTenant()}
	})
}

func (s service) group(id uint64) (*Group, error) {
	if g := s.node.group(id); g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("group %d: %w", id, ErrNotHere)
}

// checkRanges demands spans that do not overlap: what lies in two would be
// answered twice.
func checkRanges(ranges []*clusterv1.RangeRef) error {
	sorted := slices.Clone(ranges)
	for _, ref := range sorted {
		if !ref.Valid() {
			return fmt.Errorf("%w: no valid range", ErrBadRequest)
		}
	}
	slices.SortFunc(sorted, func(a, b *clusterv1.RangeRef) int {
		return cmp.Or(cmp.Compare(a.GetKeyspace(), b.GetKeyspace()), cmp.Compare(a.GetLo(), b.GetLo()))
	})
	for i := 1; i < len(sorted); i++ {
		if sorted[i-1].GetKeyspace() == sorted[i].GetKeyspace() && sorted[i-1].Contains(sorted[i].GetLo()) {
			return fmt.Errorf("%w: ranges overlap", ErrBadRequest)
		}
	}
	return nil
}
