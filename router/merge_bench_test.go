package router

import (
	"fmt"
	"testing"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// What the router does with the answers of groups to a question for many blocks: it
// merges them, and writes the client's answer. One operation is one block.
func BenchmarkMerge(b *testing.B) {
	for _, groups := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			const blocks = 32_000
			encoded := make([]byte, 200)
			lists := make([]*nodev1.QueryBlocksResponse, groups)
			for g := range lists {
				lists[g] = &nodev1.QueryBlocksResponse{}
				for n := range blocks / groups {
					lists[g].Blocks = append(lists[g].Blocks, &nodev1.EncodedBlock{Shard: uint32(n * 16 * groups / blocks), Id: fmt.Sprintf("01JGJFGR48%010d%06d", n, g), Block: encoded})
				}
			}
			b.ReportAllocs()
			done := 0
			for b.Loop() {
				if done++; done%blocks != 1 {
					continue
				}
				found := &foundBlocks{size: newAnswerSize(1 << 30)}
				for _, list := range lists {
					if err := found.add(list); err != nil {
						b.Fatal(err)
					}
				}
				if answer, err := found.answer(); err != nil || len(answer) < blocks*len(encoded) {
					b.Fatalf("%d bytes, %v", len(answer), err)
				}
			}
		})
	}
}
