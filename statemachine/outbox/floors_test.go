package outbox_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/outbox"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// A walk that begins at floors finds what one from the start does, from any position on,
// whatever was made and finished since the walk before.
func TestFloorsHideNothing(t *testing.T) {
	db := kvtest.DB(t, 2)
	random := rand.New(rand.NewPCG(5, 6))
	floors := outbox.Floors{}
	type pair struct {
		stream uint32
		tenant string
	}
	waiting := map[pair][]uint64{}
	for range 400 {
		err := db.Update(func(tx *kv.Tx) error {
			w, err := outbox.NewWriter(tx)
			if err != nil {
				return err
			}
			stream := uint32(1 + random.IntN(4))
			if random.IntN(3) > 0 {
				x, err := w.Next(stream)
				if err != nil {
					return err
				}
				for n := range 1 + random.IntN(3) {
					p := pair{stream, fmt.Sprint("tenant-", n)}
					if err := w.Issue(stream, p.tenant, x, &raftlogv1.Transfer{Blocks: []string{fmt.Sprint(x)}, Bytes: 5}); err != nil {
						return err
					}
					waiting[p] = append(waiting[p], x)
				}
				return nil
			}
			p := pair{stream, fmt.Sprint("tenant-", random.IntN(3))}
			if n := len(waiting[p]); n > 0 {
				last := random.IntN(n)
				if _, err := w.Finish(stream, p.tenant, waiting[p][last]); err != nil {
					return err
				}
				waiting[p] = waiting[p][last+1:]
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *kv.Tx) error {
			v := outbox.NewView(tx)
			var all []outbox.Position
			for at, err := range v.After(outbox.Position{}) {
				if err != nil {
					return err
				}
				all = append(all, at)
			}
			after, want := outbox.Position{}, all
			if len(all) > 0 && random.IntN(2) == 0 {
				from := random.IntN(len(all))
				after, want = all[from], all[from+1:]
			}
			var got []outbox.Position
			for at, err := range floors.After(v, after) {
				if err != nil {
					return err
				}
				if got = append(got, at); random.IntN(50) == 0 {
					return nil // a walk that is given up
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("after %v: %v, want %v", after, got, want)
			}
			chained := 0
			for p, numbers := range waiting {
				for e, err := range v.Chain(p.stream, p.tenant) {
					if err != nil || e.Number != numbers[0] {
						t.Fatalf("%v: transfer %d (%v), want %v", p, e.Number, err, numbers)
					}
					numbers = numbers[1:]
					chained++
				}
				if len(numbers) > 0 {
					t.Fatalf("%v: %v are not in the chain", p, numbers)
				}
			}
			if chained != len(all) {
				t.Fatalf("%d transfers in chains, %d in the order", chained, len(all))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
