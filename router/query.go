package router

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
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
	var (
		mu    sync.Mutex
		lists [][]*nodev1.EncodedBlock
		size  = newAnswerSize(s.router.options.MaxAnswerBytes)
	)
	err = s.router.query(ctx, "QueryMetadata", selection,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (*nodev1.QueryCost, take, error) {
			answer, err := node.QueryBlocks(ctx, selection.ask(p, size.left()))
			list := answer.GetBlocks()
			if !slices.IsSortedFunc(list, compareBlocks) {
				return nil, nil, status.Errorf(codes.Internal, "group %d answered out of order", p.group)
			}
			return answer.GetCost(), func() error {
				mu.Lock()
				defer mu.Unlock()
				lists = append(lists, list)
				return size.add(encodedSizes(list))
			}, err
		})
	if err != nil {
		return nil, err
	}
	merged := mergeBlocks(lists)
	raw := make([]byte, 0, encodedSizes(merged))
	for _, block := range merged {
		raw = appendRecord(raw, block.GetBlock())
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
	var (
		mu     sync.Mutex
		labels []*typesv1.Labels
		size   = newAnswerSize(s.router.options.MaxAnswerBytes)
	)
	err = s.router.query(ctx, "QueryMetadataLabels", selection,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (*nodev1.QueryCost, take, error) {
			answer, err := node.QueryLabels(ctx, selection.ask(p, size.left()))
			return answer.GetCost(), func() error {
				mu.Lock()
				defer mu.Unlock()
				labels = append(labels, answer.GetLabels()...)
				return size.add(answer.SizeVT())
			}, err
		})
	if err != nil {
		return nil, err
	}
	response.Labels = mergeLabels(labels)
	return response, nil
}

func encodedSizes(blocks []*nodev1.EncodedBlock) int {
	total := 0
	for _, block := range blocks {
		total += recordSize(block.GetBlock())
	}
	return total
}
