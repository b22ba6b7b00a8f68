package queue_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// What writers remember changes nothing: the rows are those of writers that remember
// nothing, whether blocks come in order, overtake each other, come again, or are taken.
func TestKnowledgeChangesNothing(t *testing.T) {
	engine := kvtest.Engine(t, kv.EngineOptions{})
	random := rand.New(rand.NewPCG(3, 4))
	keys := []queue.Key{{Shard: 1}, {Tenant: "a", Shard: 1, Level: 1}, {Shard: 2}}
	// More keys than are remembered, now and then.
	for n := range uint32(1200) {
		keys = append(keys, queue.Key{Tenant: "many", Shard: n, Level: 2})
	}
	type change struct {
		key  queue.Key
		ids  []ulid.ULID
		take bool
		at   int64
	}
	block := func(number int) (id ulid.ULID) {
		id[14], id[15] = byte(number>>8), byte(number)
		return id
	}
	known := queue.NewKnown()
	for round := range 300 {
		var changes []change
		for range random.IntN(8) {
			c := change{key: keys[random.IntN(3)], at: int64(random.IntN(1000)), take: random.IntN(5) == 0}
			for range 1 + random.IntN(12) {
				c.ids = append(c.ids, block(max(0, round*4-random.IntN(20)*random.IntN(20))))
			}
			changes = append(changes, c)
		}
		if round%50 == 49 {
			for _, key := range keys[3+random.IntN(600):] {
				changes = append(changes, change{key: key, ids: []ulid.ULID{block(random.IntN(9))}, at: 5, take: random.IntN(2) == 0})
			}
		}
		for group, with := range map[uint64]*queue.Known{2: known, 3: nil} {
			db := kvtest.Of(t, engine, group)
			if err := db.Update(func(tx *kv.Tx) error {
				w, err := queue.NewWriter(tx, with)
				if err != nil {
					return err
				}
				for _, c := range changes {
					if c.take {
						err = w.Take(c.key, slices.Compact(slices.SortedFunc(slices.Values(c.ids), ulid.ULID.Compare)))
					}
					for _, id := range c.ids {
						if err == nil && !c.take {
							err = w.Push(c.key, id, c.at)
						}
					}
					if err != nil {
						return err
					}
				}
				return w.Flush()
			}); err != nil {
				t.Fatal(err)
			}
		}
		if round%25 != 24 {
			continue
		}
		if with, without := rows(t, engine, 2), rows(t, engine, 3); !slices.Equal(with, without) {
			t.Fatalf("round %d: rows differ:\n%v\n%v", round, with, without)
		}
	}
}

func rows(t *testing.T, engine *kv.Engine, group uint64) (all []string) {
	t.Helper()
	db := kvtest.Of(t, engine, group)
	if err := db.View(func(tx *kv.Tx) error {
		return tx.ForEach(func(name []byte, b *kv.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				all = append(all, fmt.Sprintf("%s %x %x", name, k, v))
				return nil
			})
		})
	}); err != nil {
		t.Fatal(err)
	}
	return all
}
