package router

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/selector"
)

// queryRequest is what both kinds of queries ask.
type queryRequest interface {
	GetTenantId() []string
	GetStartTime() int64
	GetEndTime() int64
	GetQuery() string
	GetLabels() []string
	SizeVT() int
}

// selection is a checked query: what to ask, and where.
type selection struct {
	request queryRequest
	tenants []string // sorted, distinct; "" stands for the anonymous blocks
	spans   []span
}

// selectBlocks checks a query. Every query reads all streams: fresh data of any
// tenant lies there.
func (o Options) selectBlocks(request queryRequest) (*selection, error) {
	if err := o.checkQuery(request); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "invalid query: %v", err)
	}
	s := &selection{request: request, tenants: slices.Clone(request.GetTenantId())}
	slices.Sort(s.tenants)
	s.tenants = slices.Compact(s.tenants)
	seen := map[span]bool{}
	for _, tenant := range s.tenants {
		// Spans of different tenants may coincide, but never overlap in part.
		if at := tenantSpan(tenant); tenant != "" && !seen[at] {
			seen[at] = true
			s.spans = append(s.spans, at)
		}
	}
	s.spans = append(s.spans, allStreams())
	return s, nil
}

func (o Options) checkQuery(request queryRequest) error {
	if len(request.GetTenantId()) == 0 {
		return fmt.Errorf("tenant_id is required")
	}
	if n := len(request.GetTenantId()); n > o.MaxTenants {
		return fmt.Errorf("%d tenants, at most %d are allowed", n, o.MaxTenants)
	}
	if n := len(request.GetLabels()); n > o.MaxLabels {
		return fmt.Errorf("%d labels, at most %d are allowed", n, o.MaxLabels)
	}
	if n := request.SizeVT(); n > o.MaxQueryBytes {
		return fmt.Errorf("the request has %d bytes, at most %d are allowed", n, o.MaxQueryBytes)
	}
	// The codec does not check, and a node's connection would refuse them.
	if !utf8.ValidString(request.GetQuery()) {
		return fmt.Errorf("the selector is not UTF-8")
	}
	for _, text := range slices.Concat(request.GetTenantId(), request.GetLabels()) {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%.64q is not UTF-8", text)
		}
	}
	_, err := selector.Parse(request.GetQuery())
	return err
}

// ask makes the request to one group.
func (s *selection) ask(p part, maxBytes uint64) *nodev1.QueryRequest {
	return &nodev1.QueryRequest{
		GroupId: p.group, Ranges: p.refs, Tenants: s.tenantsOf(p),
		StartTime: s.request.GetStartTime(), EndTime: s.request.GetEndTime(),
		Selector: s.request.GetQuery(), Labels: s.request.GetLabels(), MaxBytes: maxBytes,
	}
}

// tenantsOf leaves out the tenants that have nothing in the part. With streams
// in it none can be left out.
func (s *selection) tenantsOf(p part) []string {
	for _, ref := range p.refs {
		if ref.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
			return s.tenants
		}
	}
	touched := map[uint64]bool{}
	for _, ref := range p.refs {
		touched[tenantBase(ref.GetLo())] = true
	}
	var tenants []string
	for _, tenant := range s.tenants {
		if lo, _ := clusterv1.TenantSpan(tenant); tenant != "" && touched[lo] {
			tenants = append(tenants, tenant)
		}
	}
	return tenants
}

// tenantBase is the first point of the tenant span that holds a point: a piece
// of a tenant's span never reaches beyond it.
func tenantBase(point uint64) uint64 { return point &^ (1<<16 - 1) }
