package router

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Direct is the client of a node in the same process: the server's methods are
// called without a connection and nothing is encoded. The server must neither
// change nor keep the request, and must hand over the answer for good. Call
// options are ignored. Errors look as they would behind a connection.
func Direct(server nodev1.NodeServiceServer) nodev1.NodeServiceClient { return direct{server} }

type direct struct{ server nodev1.NodeServiceServer }

func (d direct) AddBlock(ctx context.Context, in *nodev1.AddBlockRequest, _ ...grpc.CallOption) (*nodev1.AddBlockResponse, error) {
	return call(ctx, in, d.server.AddBlock)
}

// checkedBlocks is implemented by nodes that need not check again a block that a router
// in the same process has decoded and checked.
type checkedBlocks interface {
	AddCheckedBlock(context.Context, *nodev1.AddBlockRequest, *metastorev1.BlockMeta) (*nodev1.AddBlockResponse, error)
}

// addChecked is AddBlock with the block that the request holds, valid and within limits.
func addChecked(ctx context.Context, node nodev1.NodeServiceClient, in *nodev1.AddBlockRequest, block *metastorev1.BlockMeta) (*nodev1.AddBlockResponse, error) {
	if d, inside := node.(direct); inside {
		if server, ok := d.server.(checkedBlocks); ok {
			return call(ctx, in, func(ctx context.Context, in *nodev1.AddBlockRequest) (*nodev1.AddBlockResponse, error) {
				return server.AddCheckedBlock(ctx, in, block)
			})
		}
	}
	return node.AddBlock(ctx, in)
}

func (d direct) GetBlocks(ctx context.Context, in *nodev1.GetBlocksRequest, _ ...grpc.CallOption) (*nodev1.GetBlocksResponse, error) {
	return call(ctx, in, d.server.GetBlocks)
}

func (d direct) QueryBlocks(ctx context.Context, in *nodev1.QueryRequest, _ ...grpc.CallOption) (*nodev1.QueryBlocksResponse, error) {
	return call(ctx, in, d.server.QueryBlocks)
}

func (d direct) QueryLabels(ctx context.Context, in *nodev1.QueryRequest, _ ...grpc.CallOption) (*nodev1.QueryLabelsResponse, error) {
	return call(ctx, in, d.server.QueryLabels)
}

func (d direct) ListTenants(ctx context.Context, in *nodev1.ListTenantsRequest, _ ...grpc.CallOption) (*nodev1.ListTenantsResponse, error) {
	return call(ctx, in, d.server.ListTenants)
}

func (d direct) TenantStats(ctx context.Context, in *nodev1.TenantStatsRequest, _ ...grpc.CallOption) (*nodev1.TenantStatsResponse, error) {
	return call(ctx, in, d.server.TenantStats)
}

func (d direct) RangeMap(ctx context.Context, in *nodev1.RangeMapRequest, _ ...grpc.CallOption) (*nodev1.RangeMapResponse, error) {
	return call(ctx, in, d.server.RangeMap)
}

func (d direct) GroupStatus(ctx context.Context, in *nodev1.GroupStatusRequest, _ ...grpc.CallOption) (*nodev1.GroupStatusResponse, error) {
	return call(ctx, in, d.server.GroupStatus)
}

func (d direct) PollCompaction(ctx context.Context, in *nodev1.PollCompactionRequest, _ ...grpc.CallOption) (*nodev1.PollCompactionResponse, error) {
	return call(ctx, in, d.server.PollCompaction)
}

func (d direct) CompactionStatus(ctx context.Context, in *nodev1.CompactionStatusRequest, _ ...grpc.CallOption) (*nodev1.CompactionStatusResponse, error) {
	return call(ctx, in, d.server.CompactionStatus)
}

func (d direct) ListTombstones(ctx context.Context, in *nodev1.ListTombstonesRequest, _ ...grpc.CallOption) (*nodev1.ListTombstonesResponse, error) {
	return call(ctx, in, d.server.ListTombstones)
}

func (d direct) PlanRetention(ctx context.Context, in *nodev1.PlanRetentionRequest, _ ...grpc.CallOption) (*nodev1.PlanRetentionResponse, error) {
	return call(ctx, in, d.server.PlanRetention)
}

func (d direct) ControlCompaction(ctx context.Context, in *nodev1.ControlCompactionRequest, _ ...grpc.CallOption) (*nodev1.ControlCompactionResponse, error) {
	return call(ctx, in, d.server.ControlCompaction)
}

func (d direct) DeleteTenant(ctx context.Context, in *nodev1.DeleteTenantRequest, _ ...grpc.CallOption) (*nodev1.DeleteTenantResponse, error) {
	return call(ctx, in, d.server.DeleteTenant)
}

func (d direct) Hello(ctx context.Context, in *nodev1.HelloRequest, _ ...grpc.CallOption) (*nodev1.HelloResponse, error) {
	return call(ctx, in, d.server.Hello)
}

func (d direct) Found(ctx context.Context, in *nodev1.FoundRequest, _ ...grpc.CallOption) (*nodev1.FoundResponse, error) {
	return call(ctx, in, d.server.Found)
}

func (d direct) Join(ctx context.Context, in *nodev1.JoinRequest, _ ...grpc.CallOption) (*nodev1.JoinResponse, error) {
	return call(ctx, in, d.server.Join)
}

func (d direct) Heartbeat(ctx context.Context, in *nodev1.HeartbeatRequest, _ ...grpc.CallOption) (*nodev1.HeartbeatResponse, error) {
	return call(ctx, in, d.server.Heartbeat)
}

func (d direct) ClusterState(ctx context.Context, in *nodev1.ClusterStateRequest, _ ...grpc.CallOption) (*nodev1.ClusterStateResponse, error) {
	return call(ctx, in, d.server.ClusterState)
}

func (d direct) Operate(ctx context.Context, in *nodev1.OperateRequest, _ ...grpc.CallOption) (*nodev1.OperateResponse, error) {
	return call(ctx, in, d.server.Operate)
}

func (d direct) ChangeMembership(ctx context.Context, in *nodev1.ChangeMembershipRequest, _ ...grpc.CallOption) (*nodev1.ChangeMembershipResponse, error) {
	return call(ctx, in, d.server.ChangeMembership)
}

func (d direct) GroupMembership(ctx context.Context, in *nodev1.GroupMembershipRequest, _ ...grpc.CallOption) (*nodev1.GroupMembershipResponse, error) {
	return call(ctx, in, d.server.GroupMembership)
}

func (d direct) TransferLeader(ctx context.Context, in *nodev1.TransferLeaderRequest, _ ...grpc.CallOption) (*nodev1.TransferLeaderResponse, error) {
	return call(ctx, in, d.server.TransferLeader)
}

func (d direct) ReplaceRanges(ctx context.Context, in *nodev1.ReplaceRangesRequest, _ ...grpc.CallOption) (*nodev1.ReplaceRangesResponse, error) {
	return call(ctx, in, d.server.ReplaceRanges)
}

func (d direct) AcceptTransfers(ctx context.Context, in *nodev1.AcceptTransfersRequest, _ ...grpc.CallOption) (*nodev1.AcceptTransfersResponse, error) {
	return call(ctx, in, d.server.AcceptTransfers)
}

func (d direct) ImportTombstones(ctx context.Context, in *nodev1.ImportTombstonesRequest, _ ...grpc.CallOption) (*nodev1.ImportTombstonesResponse, error) {
	return call(ctx, in, d.server.ImportTombstones)
}

func (d direct) TransferStatus(ctx context.Context, in *nodev1.TransferStatusRequest, _ ...grpc.CallOption) (*nodev1.TransferStatusResponse, error) {
	return call(ctx, in, d.server.TransferStatus)
}

func (d direct) GetDLQStatus(ctx context.Context, in *nodev1.GetDLQStatusRequest, _ ...grpc.CallOption) (*nodev1.GetDLQStatusResponse, error) {
	return call(ctx, in, d.server.GetDLQStatus)
}

func (d direct) ListDLQ(ctx context.Context, in *nodev1.ListDLQRequest, _ ...grpc.CallOption) (*nodev1.ListDLQResponse, error) {
	return call(ctx, in, d.server.ListDLQ)
}

func (d direct) GetDLQEntry(ctx context.Context, in *nodev1.GetDLQEntryRequest, _ ...grpc.CallOption) (*nodev1.GetDLQEntryResponse, error) {
	return call(ctx, in, d.server.GetDLQEntry)
}

func (d direct) RetryDLQ(ctx context.Context, in *nodev1.RetryDLQRequest, _ ...grpc.CallOption) (*nodev1.RetryDLQResponse, error) {
	return call(ctx, in, d.server.RetryDLQ)
}

func (d direct) PurgeDLQ(ctx context.Context, in *nodev1.PurgeDLQRequest, _ ...grpc.CallOption) (*nodev1.PurgeDLQResponse, error) {
	return call(ctx, in, d.server.PurgeDLQ)
}

func (d direct) SweepDLQ(ctx context.Context, in *nodev1.SweepDLQRequest, _ ...grpc.CallOption) (*nodev1.SweepDLQResponse, error) {
	return call(ctx, in, d.server.SweepDLQ)
}

func (d direct) PlacementSamples(ctx context.Context, in *nodev1.PlacementSamplesRequest, _ ...grpc.CallOption) (*nodev1.PlacementSamplesResponse, error) {
	return call(ctx, in, d.server.PlacementSamples)
}

func (d direct) DescribePlacement(ctx context.Context, in *nodev1.DescribePlacementRequest, _ ...grpc.CallOption) (*nodev1.DescribePlacementResponse, error) {
	return call(ctx, in, d.server.DescribePlacement)
}

func call[Q, A any](ctx context.Context, in Q, method func(context.Context, Q) (A, error)) (A, error) {
	out, err := method(ctx, in)
	if err == nil {
		return out, nil
	}
	var none A
	return none, asStatus(err).Err()
}

// asStatus does what a gRPC server does to a handler's error.
func asStatus(err error) *status.Status {
	if s, ok := status.FromError(err); ok {
		return s
	}
	return status.FromContextError(err)
}
