package jobs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/jobs"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Totals are what a walk over the jobs would count, whatever was done to them.
func TestTotals(t *testing.T) {
	db := kvtest.DB(t, 2)
	random := rand.New(rand.NewPCG(1, 3))
	for range 200 {
		if err := db.Update(func(tx *kv.Tx) error {
			w, err := jobs.NewWriter(tx)
			if err != nil {
				return err
			}
			name := fmt.Sprint(random.IntN(10))
			was, err := w.Get(name)
			if err != nil {
				return err
			}
			if was != nil && random.IntN(3) == 0 {
				return errors.Join(w.Delete(was), w.Flush())
			}
			level := uint32(random.IntN(3))
			if was != nil {
				level = was.GetJob().GetLevel()
			}
			err = w.Put(was, &raftlogv1.JobState{
				Job:        &raftlogv1.CompactionJob{Name: name, Level: level},
				InProgress: random.IntN(2) == 0, Failures: uint32(random.IntN(3)), LeaseExpiresAt: random.Int64N(10),
			})
			return errors.Join(err, w.Flush())
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.View(func(tx *kv.Tx) error {
			view := jobs.NewView(tx)
			var want []jobs.Total
			for level := range uint32(3) {
				for _, inProgress := range []bool{false, true} {
					for failures := range uint32(3) {
						total := jobs.Total{Level: level, InProgress: inProgress, Failures: failures}
						for job, err := range view.List(level, inProgress, failures) {
							if err != nil {
								return err
							}
							if job.GetFailures() == failures {
								total.Jobs++
							}
						}
						if total.Jobs > 0 {
							want = append(want, total)
						}
					}
				}
			}
			got, err := view.Totals()
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}
