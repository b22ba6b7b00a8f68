package router

import (
	"cmp"
	"container/heap"
	"strings"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// compareBlocks is the order of answers: tenant, "" first, then shard, then id.
func compareBlocks(a, b *nodev1.EncodedBlock) int {
	return cmp.Or(
		strings.Compare(a.GetTenant(), b.GetTenant()),
		cmp.Compare(a.GetShard(), b.GetShard()),
		strings.Compare(a.GetId(), b.GetId()),
	)
}

// mergeBlocks merges sorted lists and drops entries with a key that was
// already seen. The lists are consumed.
func mergeBlocks(lists [][]*nodev1.EncodedBlock) []*nodev1.EncodedBlock {
	heads := make(blockHeads, 0, len(lists))
	total := 0
	for _, list := range lists {
		total += len(list)
		if len(list) > 0 {
			heads = append(heads, list)
		}
	}
	heap.Init(&heads)
	merged := make([]*nodev1.EncodedBlock, 0, total)
	for len(heads) > 0 {
		block := heads[0][0]
		if len(merged) == 0 || compareBlocks(merged[len(merged)-1], block) != 0 {
			merged = append(merged, block)
		}
		if heads[0] = heads[0][1:]; len(heads[0]) == 0 {
			heap.Pop(&heads)
		} else {
			heap.Fix(&heads, 0)
		}
	}
	return merged
}

// blockHeads is a heap of non-empty lists by their first element.
type blockHeads [][]*nodev1.EncodedBlock

func (h blockHeads) Len() int           { return len(h) }
func (h blockHeads) Less(i, j int) bool { return compareBlocks(h[i][0], h[j][0]) < 0 }
func (h blockHeads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *blockHeads) Push(x any)        { *h = append(*h, x.([]*nodev1.EncodedBlock)) }
func (h *blockHeads) Pop() any {
	last := len(*h) - 1
	list := (*h)[last]
	*h = (*h)[:last]
	return list
}
