package router

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

type indexService struct {
	metastorev1.UnimplementedIndexServiceServer
	router *Router
}

// AddBlock answers after the block is durable and visible. An error other than
// INVALID_ARGUMENT leaves open whether it is; a repeat is safe.
func (s *indexService) AddBlock(ctx context.Context, request *metastorev1.AddBlockRequest) (*metastorev1.AddBlockResponse, error) {
	block := request.GetBlock()
	if err := metastorev1.ValidateBlock(block); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := metastorev1.CheckLimits(block); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	encoded := receivedBlock(ctx)
	if encoded == nil {
		var err error
		if encoded, err = block.MarshalVT(); err != nil {
			return nil, status.Errorf(codes.Internal, "encode block %s: %v", block.GetId(), err)
		}
	}
	if _, err := s.router.addBlock(ctx, block, encoded, s.router.options.AddBlockBudget); err != nil {
		return nil, err
	}
	return &metastorev1.AddBlockResponse{}, nil
}

// addBlock adds a block that is valid and within limits, within a budget, and tells
// whether it is new.
func (r *Router) addBlock(ctx context.Context, block *metastorev1.BlockMeta, encoded []byte, budget time.Duration) (bool, error) {
	// One id for all attempts: the group takes an earlier attempt whose answer
	// was lost and its repeat for the same command.
	requestID := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), rand.Uint64())
	requestID = binary.LittleEndian.AppendUint64(requestID, rand.Uint64())
	var added bool
	spans := []span{pointSpan(block.TenantName(), block.GetShard())}
	err := r.run(ctx, addBlockCall, budget, spans,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
			answer, err := addChecked(ctx, node, &nodev1.AddBlockRequest{
				GroupId: p.group, Range: p.refs[0], RequestId: requestID, Block: encoded,
			}, block)
			return func() error {
				added = answer.GetAdded()
				return nil
			}, err
		})
	return added, err
}

// GetBlockMetadata answers in the order of the ids; unknown ones are left out.
// A tenant's blocks may wait in the outbox of their stream.
func (s *indexService) GetBlockMetadata(ctx context.Context, request *metastorev1.GetBlockMetadataRequest) (*metastorev1.GetBlockMetadataResponse, error) {
	list, response := request.GetBlocks(), &metastorev1.GetBlockMetadataResponse{}
	if err := s.validate(list); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if len(list.GetBlocks()) == 0 {
		return response, nil
	}
	found := newFoundByID(list, newAnswerSize(s.router.options.MaxAnswerBytes))
	err := s.router.fanout.rounds(ctx, "GetBlockMetadata", s.router.options.GetBlocksBudget, found.places[:1], nil, found.next,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
			answer, err := node.GetBlocks(ctx, &nodev1.GetBlocksRequest{
				GroupId: p.group, Range: p.refs[0], Tenant: list.GetTenant(), Shard: list.GetShard(),
				Ids: found.missing(), MaxBytes: found.size.left(),
			})
			return func() error { return found.add(answer.GetBlocks()) }, err
		})
	if err != nil {
		return nil, err
	}
	attach(response, found.answer())
	return response, nil
}

func (s *indexService) validate(list *metastorev1.BlockList) error {
	if !utf8.ValidString(list.GetTenant()) {
		return errors.New("tenant is not UTF-8")
	}
	if ids := len(list.GetBlocks()); ids > s.router.options.MaxIDs {
		return fmt.Errorf("%d block ids, at most %d are allowed", ids, s.router.options.MaxIDs)
	}
	for _, id := range list.GetBlocks() {
		if _, err := metastorev1.ParseID(id); err != nil {
			return err
		}
	}
	return nil
}

// pointSpan holds the one point of a (tenant, shard) or of a stream.
func pointSpan(tenant string, shard uint32) span {
	keyspace, point := clusterv1.BlockPoint(tenant, shard)
	return span{keyspace, point, point + 1}
}
