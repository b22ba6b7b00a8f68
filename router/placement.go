package router

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// DescribePlacement has the directory's leader tell over how many shards datasets are
// to be spread. It bounds the page itself.
func (s *adminService) DescribePlacement(ctx context.Context, request *adminv1.DescribePlacementRequest) (*adminv1.DescribePlacementResponse, error) {
	page := request.GetPage()
	if page == nil {
		return nil, status.Error(codes.InvalidArgument, "page is required")
	}
	response := &adminv1.DescribePlacementResponse{}
	err := s.router.fanout.directory(ctx, placementCall, stateBudget, func(ctx context.Context, node nodev1.NodeServiceClient, _ part) (take, error) {
		answer, err := node.DescribePlacement(ctx, page)
		return func() error { response.Page = answer; return nil }, err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
