package router

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

type queryService struct {
	metastorev1.UnimplementedMetadataQueryServiceServer
	router *Router
}

// QueryMetadata returns the blocks sorted by tenant, shard and id.
func (s *queryService) QueryMetadata(ctx context.Context, request *metastorev1.QueryMetadataRequest) (*metastorev1.QueryMetadataResponse, error) {
	selection, err := s.router.options.selectBlocks(request)
	if err != nil {
		return nil, err
	}
	found := &foundBlocks{size: newAnswerSize(s.router.options.MaxAnswerBytes)}
	err = s.router.query(ctx, "QueryMetadata", selection, found,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (*nodev1.QueryCost, take, error) {
			answer, err := node.QueryBlocks(ctx, selection.ask(p, found.size.left()))
			if !slices.IsSortedFunc(answer.GetBlocks(), compareBlocks) {
				return nil, nil, status.Errorf(codes.Internal, "group %d answered out of order", p.group)
			}
			return answer.GetCost(), func() error { return found.add(answer) }, err
		})
	if err != nil {
		return nil, err
	}
	raw, err := found.answer()
	if err != nil {
		return nil, err
	}
	response := &metastorev1.QueryMetadataResponse{}
	attach(response, raw)
	return response, nil
}

// QueryMetadataLabels returns the distinct projections, sorted.
func (s *queryService) QueryMetadataLabels(ctx context.Context, request *metastorev1.QueryMetadataLabelsRequest) (*metastorev1.QueryMetadataLabelsResponse, error) {
	selection, err := s.router.options.selectBlocks(request)
	if err != nil {
		return nil, err
	}
	response := &metastorev1.QueryMetadataLabelsResponse{}
	if len(request.GetLabels()) == 0 {
		return response, nil
	}
	found := &foundLabels{size: newAnswerSize(s.router.options.MaxAnswerBytes)}
	err = s.router.query(ctx, "QueryMetadataLabels", selection, found,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (*nodev1.QueryCost, take, error) {
			answer, err := node.QueryLabels(ctx, selection.ask(p, found.size.left()))
			return answer.GetCost(), func() error { return found.add(answer) }, err
		})
	if err != nil {
		return nil, err
	}
	response.Labels = found.answer()
	return response, nil
}

func encodedSizes(blocks []*nodev1.EncodedBlock) int {
	total := 0
	for _, block := range blocks {
		total += recordSize(block.GetBlock())
	}
	return total
}
