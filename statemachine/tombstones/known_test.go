package tombstones_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/oklog/ulid/v2"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/tombstones"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// What writers remember does not change what they tell of compacted blocks.
func TestKnowledgeChangesNothing(t *testing.T) {
	db := kvtest.DB(t, 2)
	random := rand.New(rand.NewPCG(5, 6))
	owner := func() (string, uint32) { return []string{"", "a", "b"}[random.IntN(3)], uint32(random.IntN(2)) }
	// Some do not differ but in the last byte, which may be the highest.
	block := func() (id ulid.ULID) {
		id[0], id[15] = byte(random.IntN(2)*0x7f), byte(0xff-random.IntN(12))
		if random.IntN(8) == 0 {
			for i := range id {
				id[i] = 0xff
			}
		}
		return id
	}
	known := tombstones.NewKnown()
	seen := map[bool]int{}
	for round := range 600 {
		if err := db.Update(func(tx *kv.Tx) error {
			w, err := tombstones.NewWriter(tx, known)
			if err != nil {
				return err
			}
			tenant, shard := owner()
			switch held, err := w.Get(fmt.Sprint(round - 30)); {
			case err != nil:
				return err
			case held != nil:
				if err := w.Delete(held); err != nil {
					return err
				}
			case random.IntN(12) == 0:
				if err := w.Add(&raftlogv1.Tombstone{Name: fmt.Sprint(round), Tenant: tenant, Shard: shard, Blocks: []string{block().String()}}); err != nil {
					return err
				}
			}
			fresh, err := tombstones.NewWriter(tx, nil)
			if err != nil {
				return err
			}
			for range 4 {
				tenant, shard, id := func() (string, uint32, ulid.ULID) { a, b := owner(); return a, b, block() }()
				got, want := w.Compacted(tenant, shard, id), fresh.Compacted(tenant, shard, id)
				if got != want {
					return fmt.Errorf("round %d: %q/%d %s is compacted: %t, want %t", round, tenant, shard, id, got, want)
				}
				seen[got]++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if seen[true] < 20 || seen[false] < 20 {
		t.Fatalf("the test tells nothing: %v", seen)
	}
}
