package index_test

import (
	"fmt"
	"testing"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/statemachine/index"
)

// numbered returns a segment with a few strings of its own.
func numbered(n int) *metastorev1.BlockMeta {
	block := segment()
	block.Id = fmt.Sprintf("01JGJFGR48%016d", n)
	block.StringTable = append(block.StringTable, fmt.Sprint("host-", n%50))
	block.CreatedBy = 4
	return block
}

// An add into one hot shard, each in a transaction of its own, by what the
// shard holds: blocks, and strings in its table.
func BenchmarkAdd(b *testing.B) {
	for _, size := range []struct{ blocks, strings int }{{0, 0}, {10_000, 50}, {10_000, 10_000}} {
		b.Run(fmt.Sprintf("blocks=%d/strings=%d", size.blocks, size.strings), func(b *testing.B) {
			s := newStore(b, 8<<20)
			n := 0
			addOne := func() {
				n++
				block := numbered(n)
				if n <= size.strings {
					block.StringTable[4] = fmt.Sprint("string-", n)
				}
				s.change(b, func(w *index.Writer) error {
					_, err := addTo(w, block, uint64(n))
					return err
				})
			}
			for range size.blocks {
				addOne()
			}
			b.ReportAllocs()
			for b.Loop() {
				addOne()
			}
		})
	}
}
