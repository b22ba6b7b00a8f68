package router

import (
	"context"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func (n *fakeNode) DescribePlacement(ctx context.Context, in *nodev1.DescribePlacementRequest) (*nodev1.DescribePlacementResponse, error) {
	if err := n.check(ctx, placementCall, 1, in); err != nil {
		return nil, err
	}
	if n.id != "n2" {
		return nil, leaderFault("n2")
	}
	return &nodev1.DescribePlacementResponse{NodeId: n.id, Bucket: in.GetTenant()}, nil
}

// The directory's leader answers, with what it was asked for; its refusals are
// passed on.
func TestPlacementIsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 5)
		s := &adminService{router: c.start(t, Options{})}
		request := &adminv1.DescribePlacementRequest{Page: &nodev1.DescribePlacementRequest{Tenant: "acme"}}
		answer, err := s.DescribePlacement(t.Context(), request)
		if page := answer.GetPage(); err != nil || page.GetNodeId() != "n2" || page.GetBucket() != "acme" {
			t.Errorf("got %v, %v", answer, err)
		}
		c.setBefore(failing(placementCall, 100, status.Error(codes.FailedPrecondition, "off")))
		_, err = s.DescribePlacement(t.Context(), request)
		wantCode(t, err, codes.FailedPrecondition)
		_, err = s.DescribePlacement(t.Context(), &adminv1.DescribePlacementRequest{})
		wantCode(t, err, codes.InvalidArgument)
	})
}
