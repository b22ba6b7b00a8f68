package queue_test

import (
	"math/rand/v2"
	"testing"

	"github.com/oklog/ulid/v2"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Totals are what a walk over the queue would count, whatever was done to it.
func TestTotals(t *testing.T) {
	db := kvtest.DB(t, 2)
	random := rand.New(rand.NewPCG(1, 2))
	keys := []queue.Key{{Shard: 1}, {Tenant: "a", Shard: 1, Level: 1}, {Tenant: "b", Shard: 2, Level: 1}, {Tenant: "a", Shard: 1, Level: 2}}
	// No block is in two batches, whatever their keys.
	block := func(key int) ulid.ULID { return ulid.ULID{1, 9: byte(key), 15: byte(random.IntN(12))} }
	known := queue.NewKnown()
	for range 100 {
		if err := db.Update(func(tx *kv.Tx) error {
			w, err := queue.NewWriter(tx, known)
			for range random.IntN(6) {
				of := random.IntN(len(keys))
				key, id := keys[of], block(of)
				second := id
				second[0] = 2
				switch random.IntN(6) {
				case 0, 1:
					err = w.Push(key, id, int64(random.IntN(100)))
				case 2:
					err = w.Take(key, []ulid.ULID{id, block(of)})
				case 3:
					first, _ := w.Batch(key, id)
					rest, _ := w.Batch(key, second)
					if first == nil && rest == nil {
						err = w.Return(key, []ulid.ULID{id, second}, &raftlogv1.BlockBatch{Blocks: []string{id.String(), second.String()}, Attempts: 1})
					}
				case 4:
					if held, _ := w.Batch(key, second); held != nil && random.IntN(2) == 0 {
						id = second // what Forget left of a batch
					}
					err = w.TakeBatch(key, id)
				case 5:
					err = w.Forget(key.Tenant, key.Shard, func(gone ulid.ULID) bool { return gone == id })
				}
				if err != nil {
					return err
				}
			}
			return w.Flush()
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.View(func(tx *kv.Tx) error { return check(t, queue.NewView(tx)) }); err != nil {
			t.Fatal(err)
		}
	}
}

func check(t *testing.T, view queue.View) error {
	for level := range uint32(queue.Levels) {
		var want queue.Totals
		for key, err := range view.Oldest(level) {
			if err != nil {
				return err
			}
			want.Blocks += uint64(key.Blocks)
		}
		for batch, err := range view.Returned(level) {
			if err != nil {
				return err
			}
			want.Returned += uint64(len(batch.GetBlocks()))
		}
		if got, err := view.Totals(level); err != nil || got != want {
			t.Fatalf("level %d: %+v, %v, want %+v", level, got, err, want)
		}
	}
	return nil
}
