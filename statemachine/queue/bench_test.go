package queue_test

import (
	"fmt"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Blocks that come to be queued, of 16 shards in turn, by how many a transaction has.
// One operation is one block.
func BenchmarkPush(b *testing.B) {
	for _, batch := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			db := kvtest.Of(b, kvtest.Engine(b, kv.EngineOptions{Durability: kv.NoWAL}), 1)
			known, n := queue.NewKnown(), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				if n++; n%uint64(batch) != 0 {
					continue
				}
				err := db.Update(func(tx *kv.Tx) error {
					w, err := queue.NewWriter(tx, known)
					if err != nil {
						return err
					}
					for k := n - uint64(batch); k < n; k++ {
						id := ulid.ULID{0: 1}
						if err := id.SetTime(k); err != nil {
							return err
						}
						if err := w.Push(queue.Key{Shard: uint32(k % 16)}, id, int64(k)); err != nil {
							return err
						}
					}
					return w.Flush()
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
