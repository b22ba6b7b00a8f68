package router

import (
	"context"
	"fmt"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// Bounds of imports: blocks and bytes of one request, and requests at a time. All
// blocks of a request wait in their groups' queues at once, and so fill entries.
const (
	importBlocksMax     = 1000
	importBytesMax      = 32 << 20
	importTombstonesMax = 1000
	importsMax          = 4
)

// ImportBlocks adds each block as AddBlock does. Blocks that are not valid are told
// one by one; another failure ends the request, and leaves open which are added.
func (s *adminService) ImportBlocks(ctx context.Context, request *adminv1.ImportBlocksRequest) (*adminv1.ImportBlocksResponse, error) {
	if n := len(request.GetBlocks()); n > importBlocksMax {
		return nil, status.Errorf(codes.InvalidArgument, "%d blocks, at most %d are taken at once", n, importBlocksMax)
	}
	if n := request.SizeVT(); n > importBytesMax && len(request.GetBlocks()) > 1 {
		return nil, status.Errorf(codes.InvalidArgument, "the blocks have %d bytes, at most %d are taken at once", n, importBytesMax)
	}
	select {
	case s.router.imports <- struct{}{}:
		defer func() { <-s.router.imports }()
	default:
		return nil, status.Errorf(codes.Unavailable, "%d imports are under way: try again", importsMax)
	}
	var (
		all      sync.WaitGroup
		mu       sync.Mutex
		first    error
		response = &adminv1.ImportBlocksResponse{}
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, encoded := range request.GetBlocks() {
		all.Go(func() {
			added, err := s.importBlock(ctx, encoded)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case status.Code(err) == codes.InvalidArgument:
				response.Refused = append(response.Refused, &adminv1.RefusedBlock{Index: uint32(i), Error: status.Convert(err).Message()})
			case err != nil:
				if first == nil {
					first = err
					cancel()
				}
			case added:
				response.Added++
			default:
				response.Known++
			}
		})
	}
	all.Wait()
	if first != nil {
		return nil, first
	}
	return response, nil
}

func (s *adminService) importBlock(ctx context.Context, encoded []byte) (added bool, err error) {
	defer s.router.fanout.recover("ImportBlocks", &err)
	block := &metastorev1.BlockMeta{}
	if err := block.UnmarshalVT(encoded); err != nil {
		return false, status.Errorf(codes.InvalidArgument, "not a block's metadata: %v", err)
	}
	if err := metastorev1.ValidateBlock(block); err != nil {
		return false, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := metastorev1.CheckLimits(block); err != nil {
		return false, status.Error(codes.InvalidArgument, err.Error())
	}
	// Nobody waits for a single block: a group may take its time.
	return s.router.addBlock(ctx, block, encoded, s.router.options.QueryBudget)
}

// ImportTombstones hands each tombstone to the group that owns its point.
func (s *adminService) ImportTombstones(ctx context.Context, request *adminv1.ImportTombstonesRequest) (*adminv1.ImportTombstonesResponse, error) {
	if n := len(request.GetTombstones()); n > importTombstonesMax {
		return nil, status.Errorf(codes.InvalidArgument, "%d tombstones, at most %d are taken at once", n, importTombstonesMax)
	}
	type owner struct {
		tenant string
		shard  uint32
	}
	positions, order := map[owner][]int{}, []owner{}
	for i, tombstone := range request.GetTombstones() {
		// Of a tombstone that is neither or both, the group says so.
		of := owner{tombstone.GetBlocks().GetTenant(), tombstone.GetBlocks().GetShard()}
		if shard := tombstone.GetShard(); shard != nil {
			of = owner{shard.GetTenant(), shard.GetShard()}
		}
		if err := checkForeign(tombstone); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "tombstone %d: %v", i, err)
		}
		if positions[of] == nil {
			order = append(order, of)
		}
		positions[of] = append(positions[of], i)
	}
	response := &adminv1.ImportTombstonesResponse{Outcomes: make([]raftlogv1.ImportOutcome, len(request.GetTombstones()))}
	for _, of := range order {
		var those []*metastorev1.Tombstones
		for _, i := range positions[of] {
			those = append(those, request.GetTombstones()[i])
		}
		err := s.router.run(ctx, importCall, s.router.options.QueryBudget, []span{pointSpan(of.tenant, of.shard)},
			func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
				answer, err := node.ImportTombstones(ctx, &nodev1.ImportTombstonesRequest{GroupId: p.group, Range: p.refs[0], Tombstones: those})
				return func() error {
					if len(answer.GetOutcomes()) != len(those) {
						return status.Errorf(codes.Internal, "%d outcomes of %d tombstones", len(answer.GetOutcomes()), len(those))
					}
					for n, i := range positions[of] {
						response.Outcomes[i] = answer.GetOutcomes()[n]
					}
					return nil
				}, err
			})
		if err != nil {
			return nil, err
		}
	}
	return response, nil
}

// checkForeign demands what messages between nodes must have.
func checkForeign(tombstone *metastorev1.Tombstones) error {
	blocks, shard := tombstone.GetBlocks(), tombstone.GetShard()
	for _, text := range append([]string{blocks.GetName(), blocks.GetTenant(), shard.GetName(), shard.GetTenant()}, blocks.GetBlocks()...) {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%.64q is not UTF-8", text)
		}
	}
	return nil
}
