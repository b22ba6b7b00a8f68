package shardgroup

import (
	"context"
	"fmt"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// clockSkew is how far routers' clocks may run ahead of nodes'.
const clockSkew = 10 * time.Minute

// DeleteTenant deletes in parts, as many commands as it takes; each has its
// effect also if a later one fails, and repeating the whole is safe.
func (s service) DeleteTenant(ctx context.Context, request *nodev1.DeleteTenantRequest) (*nodev1.DeleteTenantResponse, error) {
	response, err := s.deleteTenant(ctx, request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	return response, nil
}

func (s service) deleteTenant(ctx context.Context, request *nodev1.DeleteTenantRequest) (*nodev1.DeleteTenantResponse, error) {
	tenant := request.GetTenant()
	if tenant == "" || len(tenant) > metastorev1.MaxTenantBytes {
		return nil, fmt.Errorf("%w: the tenant's name has %d bytes, want 1 to %d", ErrBadRequest, len(tenant), metastorev1.MaxTenantBytes)
	}
	if err := checkRanges(request.GetRanges()); err != nil {
		return nil, err
	}
	// A moment in the future would keep the tenant out until then.
	if latest := uint64(s.node.options.Now().Add(clockSkew).UnixMilli()); request.GetUntil() > latest {
		return nil, fmt.Errorf("%w: the deletion reaches until %d, beyond %d: look at the router's clock", ErrBadRequest, request.GetUntil(), latest)
	}
	group, err := s.dataGroup(request.GetGroupId())
	if err != nil {
		return nil, err
	}
	payload, err := (&raftlogv1.DeleteTenant{Tenant: tenant, Until: request.GetUntil()}).MarshalVT()
	if err != nil {
		return nil, err
	}
	total := &nodev1.DeleteTenantResponse{}
	for _, ref := range request.GetRanges() {
		for more := true; more; {
			outcome, err := group.deletePart(ctx, ref, payload)
			if err != nil {
				return nil, err
			}
			total.Blocks += outcome.GetBlocks()
			total.ObjectBytes += outcome.GetObjectBytes()
			more = outcome.GetMore()
		}
	}
	return total, nil
}

func (g *Group) deletePart(ctx context.Context, ref *clusterv1.RangeRef, payload []byte) (*raftlogv1.DeletionOutcome, error) {
	result, err := g.Propose(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_DELETE_TENANT, RequestId: newRequestID(), Range: ref, Payload: payload,
	})
	if err != nil {
		return nil, err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK:
		outcome := &raftlogv1.DeletionOutcome{}
		return outcome, outcome.UnmarshalVT(result.GetPayload())
	case raftlogv1.Result_STATUS_ROUTE:
		return nil, &statemachine.RouteRefusal{Detail: result.GetRoute()}
	default:
		return nil, fmt.Errorf("%w: %s: %s", ErrRefused, result.GetStatus(), result.GetMessage())
	}
}
