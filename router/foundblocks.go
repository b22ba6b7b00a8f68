package router

import (
	"crypto/sha256"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// foundBlocks are the blocks of a query, a sorted list for each part. Each point
// is in the lists as it was read last.
type foundBlocks struct {
	size *answerSize

	mu    sync.Mutex
	lists [][]*nodev1.EncodedBlock
	marks watermarks
}

// add takes in a sorted answer.
func (f *foundBlocks) add(answer *nodev1.QueryBlocksResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists = append(f.lists, answer.GetBlocks())
	f.marks.add(answer.GetWatermarks())
	return f.size.add(encodedSizes(answer.GetBlocks()))
}

func (f *foundBlocks) stale() stale { return f.marks.stale(true) }

func (f *foundBlocks) forget(spans spanSet) {
	f.marks.forget(spans)
	f.drop(func(block *nodev1.EncodedBlock) bool { return spans.holds(placeOf(block)) })
}

func (f *foundBlocks) reset() {
	f.marks = watermarks{}
	f.drop(func(*nodev1.EncodedBlock) bool { return true })
}

func (f *foundBlocks) drop(which func(*nodev1.EncodedBlock) bool) {
	for i, list := range f.lists {
		before := encodedSizes(list)
		f.lists[i] = slices.DeleteFunc(list, which)
		f.size.release(before - encodedSizes(f.lists[i]))
	}
}

// placeOf is where a block was read: in the outbox of a stream, or where it
// belongs.
func placeOf(block *nodev1.EncodedBlock) (clusterv1.Keyspace, uint64) {
	if block.GetTransfer() != 0 {
		return clusterv1.BlockPoint("", block.GetShard())
	}
	return clusterv1.BlockPoint(block.GetTenant(), block.GetShard())
}

// visible merges the lists, without the blocks of transfers that were accepted
// before the tenant was read: its list has them, or what became of them. Nothing
// may be stale.
func (f *foundBlocks) visible() ([]*nodev1.EncodedBlock, error) {
	waiting := func(block *nodev1.EncodedBlock) bool { return block.GetTransfer() != 0 }
	if slices.ContainsFunc(f.lists, func(list []*nodev1.EncodedBlock) bool { return slices.ContainsFunc(list, waiting) }) {
		issued, accepted := f.marks.issuedByPair(), f.marks.acceptedByPair()
		var fault error
		f.drop(func(block *nodev1.EncodedBlock) bool {
			if !waiting(block) {
				return false
			}
			pair := transferPair{block.GetShard(), block.GetTenant()}
			row := issued[pair]
			if block.GetTransfer() > row.GetIssued() {
				fault = status.Errorf(codes.Internal, "block %s waits in transfer %d of stream %d, of which only %d were made", block.GetId(), block.GetTransfer(), pair.stream, row.GetIssued())
			}
			return !accepted[pair].less(watermark{row.GetIncarnation(), block.GetTransfer()})
		})
		if fault != nil {
			return nil, fault
		}
	}
	return mergeBlocks(f.lists), nil
}

// answer is an encoded metastore.v1.QueryMetadataResponse.
func (f *foundBlocks) answer() ([]byte, error) {
	merged, err := f.visible()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 0, encodedSizes(merged))
	for _, block := range merged {
		raw = appendRecord(raw, block.GetBlock())
	}
	return raw, nil
}

func (f *foundBlocks) sum() ([sha256.Size]byte, error) {
	raw, err := f.answer()
	return sha256.Sum256(raw), err
}
