package tombstones_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/tombstones"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Totals are what a walk over the tombstones would count, whatever was done to
// them.
func TestTotals(t *testing.T) {
	db := kvtest.DB(t, 2)
	random := rand.New(rand.NewPCG(1, 4))
	known := tombstones.NewKnown()
	for range 200 {
		if err := db.Update(func(tx *kv.Tx) error {
			w, err := tombstones.NewWriter(tx, known)
			if err != nil {
				return err
			}
			name := fmt.Sprint(random.IntN(8))
			held, err := w.Get(name)
			switch {
			case err != nil:
				return err
			case held == nil || random.IntN(4) == 0:
				return w.Add(&raftlogv1.Tombstone{Name: name, Partition: 1, Since: random.Int64N(10)})
			case random.IntN(3) == 0:
				return w.Delete(held)
			case held.GetJob() == "":
				return w.Carry(held, "a job")
			}
			return w.Release(held, random.Int64N(10))
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.View(func(tx *kv.Tx) error {
			view := tombstones.NewView(tx)
			var held, waiting uint64
			for _, err := range view.Waiting() {
				if err != nil {
					return err
				}
				waiting++
			}
			if err := view.All(func(*raftlogv1.Tombstone) bool { held++; return true }); err != nil {
				return err
			}
			if gotHeld, gotWaiting := view.Totals(); gotHeld != held || gotWaiting != waiting {
				t.Errorf("%d held, %d waiting, want %d and %d", gotHeld, gotWaiting, held, waiting)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}
