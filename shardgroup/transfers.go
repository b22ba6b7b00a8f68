package shardgroup

import (
	"context"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// Bounds of one handover. Results of a job come in one poll, and what it made of a
// tenant goes as one.
const (
	maxTransfers      = 4096
	maxTransfersBytes = maxPollBytes - 1<<20
)

// AcceptTransfers takes transfers over, through whatever replica. What was accepted
// before is accepted again, without effect.
func (s service) AcceptTransfers(ctx context.Context, request *nodev1.AcceptTransfersRequest) (*nodev1.AcceptTransfersResponse, error) {
	outcomes, err := s.acceptTransfers(ctx, request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	return &nodev1.AcceptTransfersResponse{Outcomes: outcomes}, nil
}

func (s service) acceptTransfers(ctx context.Context, request *nodev1.AcceptTransfersRequest) (*raftlogv1.AcceptOutcomes, error) {
	if err := checkTransfers(request); err != nil {
		return nil, err
	}
	if err := s.node.roomForBlocks(); err != nil {
		return nil, err
	}
	group, err := s.dataGroup(request.GetGroupId())
	if err != nil {
		return nil, err
	}
	payload, err := request.GetTransfers().MarshalVT()
	if err != nil {
		return nil, err
	}
	result, err := group.Propose(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_ACCEPT_TRANSFERS, RequestId: newRequestID(), Range: request.GetRange(), Payload: payload,
	})
	if err != nil {
		return nil, err
	}
	s.node.reached("accepted")
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY:
		outcomes := &raftlogv1.AcceptOutcomes{}
		return outcomes, outcomes.UnmarshalVT(result.GetPayload())
	case raftlogv1.Result_STATUS_INVALID:
		return nil, fmt.Errorf("%w: %s", ErrBadRequest, result.GetMessage())
	case raftlogv1.Result_STATUS_ROUTE:
		return nil, &statemachine.RouteRefusal{Detail: result.GetRoute()}
	default:
		return nil, fmt.Errorf("%w: %s: %s", ErrRefused, result.GetStatus(), result.GetMessage())
	}
}

// checkTransfers refuses what would only be refused after it was replicated, and
// what is too large to be replicated.
func checkTransfers(request *nodev1.AcceptTransfersRequest) error {
	transfers := request.GetTransfers().GetTransfers()
	if len(transfers) == 0 || len(transfers) > maxTransfers {
		return fmt.Errorf("%w: %d transfers, want 1 to %d", ErrBadRequest, len(transfers), maxTransfers)
	}
	if size := request.GetTransfers().SizeVT(); size > maxTransfersBytes {
		return fmt.Errorf("%w: the transfers have %d bytes, at most %d are allowed", ErrBadRequest, size, maxTransfersBytes)
	}
	if !request.GetRange().Valid() || request.GetRange().GetKeyspace() != clusterv1.Keyspace_KEYSPACE_TENANT {
		return fmt.Errorf("%w: no valid range of tenants", ErrBadRequest)
	}
	for _, transfer := range transfers {
		for _, block := range transfer.GetBlocks() {
			err := metastorev1.ValidateBlock(block)
			if err == nil {
				err = metastorev1.CheckLimits(block)
			}
			if err == nil && (block.TenantName() != transfer.GetTenant() || block.GetShard() != transfer.GetStream()) {
				err = fmt.Errorf("%w: it is of tenant %.128q and shard %d", ErrBadRequest, block.TenantName(), block.GetShard())
			}
			if err != nil {
				return fmt.Errorf("block %.128q in transfer %d of stream %d to tenant %.128q: %w",
					block.GetId(), transfer.GetNumber(), transfer.GetStream(), transfer.GetTenant(), err)
			}
		}
	}
	return nil
}

// TransferStatus tells what waits in outboxes, on any replica; why it waits, only
// the leader knows.
func (s service) TransferStatus(ctx context.Context, request *nodev1.TransferStatusRequest) (*nodev1.TransferStatusResponse, error) {
	group, err := s.dataGroup(request.GetGroupId())
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	if request.GetFromLeader() && group.outbox.tour.Load() == nil {
		return nil, toStatus(s.node.notLeader(request.GetGroupId()), request.GetGroupId())
	}
	what := reading{group: request.GetGroupId(), maxBytes: maxAnswerBytes}
	chains, err := read[[]statemachine.OutboxChain](ctx, s, what, func(ctx context.Context, _ uint64) statemachine.Query {
		return statemachine.OutboxChains{Context: ctx}
	})
	if err != nil {
		return nil, err
	}
	response := &nodev1.TransferStatusResponse{}
	for _, c := range chains {
		response.Transfers += c.Transfers
		response.Blocks += c.Blocks
		if len(response.Outboxes) == listLimit(request.GetLimit()) {
			response.Truncated = true
			continue
		}
		response.Outboxes = append(response.Outboxes, &nodev1.OutboxInfo{
			Stream: c.Stream, Tenant: c.Tenant, Transfers: c.Transfers, Blocks: c.Blocks, Oldest: c.Oldest,
			Error: group.outbox.trouble(c.Stream, c.Tenant),
		})
	}
	if len(chains) > 0 {
		response.Oldest = chains[0].Oldest
	}
	return response, nil
}
