package router

import (
	"context"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

type tenantService struct {
	metastorev1.UnimplementedTenantServiceServer
	router *Router
}

// GetTenants lists the tenants that have blocks, or datasets in segments.
func (s *tenantService) GetTenants(ctx context.Context, _ *metastorev1.GetTenantsRequest) (*metastorev1.GetTenantsResponse, error) {
	var (
		mu      sync.Mutex
		tenants []string
		size    = newAnswerSize(s.router.options.MaxAnswerBytes)
	)
	// One after the other: what a tenant has may go from the first to the second in
	// between, never back.
	phases := [][]span{{allStreams()}, {allTenants()}, nil}
	next := func() ([]span, error) {
		phases = phases[1:]
		return phases[0], nil
	}
	err := s.router.fanout.rounds(ctx, "GetTenants", s.router.options.QueryBudget, phases[0], nil, next,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
			answer, err := node.ListTenants(ctx, &nodev1.ListTenantsRequest{GroupId: p.group, Ranges: p.refs})
			return func() error {
				mu.Lock()
				defer mu.Unlock()
				tenants = append(tenants, answer.GetTenants()...)
				return size.add(answer.SizeVT())
			}, err
		})
	if err != nil {
		return nil, err
	}
	slices.Sort(tenants)
	tenants = slices.DeleteFunc(slices.Compact(tenants), func(tenant string) bool { return tenant == "" })
	return &metastorev1.GetTenantsResponse{TenantIds: tenants}, nil
}

// GetTenant bounds a tenant's data. The stats are always set; they are zero for
// a tenant that nobody knows. The empty tenant means the segments as such.
func (s *tenantService) GetTenant(ctx context.Context, request *metastorev1.GetTenantRequest) (*metastorev1.GetTenantResponse, error) {
	tenant := request.GetTenantId()
	if !utf8.ValidString(tenant) {
		return nil, status.Error(codes.InvalidArgument, "tenant_id is not UTF-8")
	}
	spans := []span{allStreams()}
	if tenant != "" {
		spans = append(spans, tenantSpan(tenant))
	}
	found := new(foundStats)
	err := s.router.agree(ctx, "GetTenant", s.router.options.QueryBudget, spans, nil, found,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
			answer, err := node.TenantStats(ctx, &nodev1.TenantStatsRequest{GroupId: p.group, Ranges: p.refs, Tenant: tenant})
			return func() error { return found.add(answer) }, err
		})
	if err != nil {
		return nil, err
	}
	return &metastorev1.GetTenantResponse{Stats: &found.total}, nil
}

// DeleteTenant removes what the tenant has stored up to now; it returns when no
// query finds any of it. Segments that were created before, by the clock of
// their writer, hide the tenant's part also if they come later. An error leaves
// open what is deleted; a repeat is safe. Refusals have the one code that
// clients do not repeat.
func (s *tenantService) DeleteTenant(ctx context.Context, request *metastorev1.DeleteTenantRequest) (*metastorev1.DeleteTenantResponse, error) {
	tenant := request.GetTenantId()
	switch {
	case !s.router.options.AllowTenantDeletion:
		return nil, status.Error(codes.InvalidArgument, "tenants may not be deleted: they would be gone for good; start the server with -tenants.allow-delete to allow it")
	case tenant == "":
		return nil, status.Error(codes.InvalidArgument, "tenant_id is required")
	case !utf8.ValidString(tenant) || len(tenant) > metastorev1.MaxTenantBytes:
		return nil, status.Errorf(codes.InvalidArgument, "tenant_id has %d bytes; it must be UTF-8 of at most %d", len(tenant), metastorev1.MaxTenantBytes)
	}
	until := uint64(time.Now().UnixMilli())
	// Streams first. Were a tenant's group to know of a deletion that a stream's does
	// not, it would refuse what the stream makes of older and younger segments together.
	for _, where := range []span{allStreams(), tenantSpan(tenant)} {
		err := s.router.run(ctx, "DeleteTenant", s.router.options.QueryBudget/2, []span{where},
			func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
				_, err := node.DeleteTenant(ctx, &nodev1.DeleteTenantRequest{GroupId: p.group, Ranges: p.refs, Tenant: tenant, Until: until})
				return nil, err
			})
		if err != nil {
			return nil, err
		}
	}
	return &metastorev1.DeleteTenantResponse{}, nil
}

func widen(total, more *metastorev1.TenantStats) {
	if !more.GetDataIngested() {
		return
	}
	if !total.DataIngested {
		total.DataIngested = true
		total.OldestProfileTime, total.NewestProfileTime = more.GetOldestProfileTime(), more.GetNewestProfileTime()
		return
	}
	total.OldestProfileTime = min(total.OldestProfileTime, more.GetOldestProfileTime())
	total.NewestProfileTime = max(total.NewestProfileTime, more.GetNewestProfileTime())
}
