package jobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/jobs"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Jobs that nobody has come in the order in which they were created, those in progress
// in that of their leases; both with few failures first.
func TestOrder(t *testing.T) {
	db := kvtest.DB(t, 2)
	state := func(name string, inProgress bool, failures uint32, created, lease int64) *raftlogv1.JobState {
		return &raftlogv1.JobState{
			Job: &raftlogv1.CompactionJob{Name: name}, InProgress: inProgress, Failures: failures, CreatedAt: created, LeaseExpiresAt: lease,
		}
	}
	list := func(inProgress bool, failuresMin uint32) string {
		t.Helper()
		var names []string
		if err := db.View(func(tx *kv.Tx) error {
			for job, err := range jobs.NewView(tx).List(0, inProgress, failuresMin) {
				if err != nil {
					return err
				}
				names = append(names, job.GetJob().GetName())
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, " ")
	}
	all := []*raftlogv1.JobState{
		state("late", false, 0, 30, 0), state("same-b", false, 0, 20, 0), state("same-a", false, 0, 20, 0), state("z-early", false, 0, 10, 0),
		state("a-failed", false, 1, 1, 0), state("before-1970", false, 0, -5, 0),
		state("short", true, 0, 9, 100), state("long", true, 0, 1, 200), state("bad", true, 2, 1, 50),
	}
	if err := db.Update(func(tx *kv.Tx) error {
		w, err := jobs.NewWriter(tx)
		for _, job := range all {
			err = errors.Join(err, w.Put(nil, job))
		}
		return errors.Join(err, w.Flush())
	}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		inProgress  bool
		failuresMin uint32
		want        string
	}{
		{false, 0, "before-1970 z-early same-a same-b late a-failed"},
		{false, 1, "a-failed"},
		{true, 0, "short long bad"},
		{true, 1, "bad"},
	} {
		if got := list(test.inProgress, test.failuresMin); got != test.want {
			t.Errorf("in progress %v, %d failures: %s, want %s", test.inProgress, test.failuresMin, got, test.want)
		}
	}
	// One is begun, and loses its owner: it is in the place that it had, behind those
	// with fewer failures.
	i := slices.IndexFunc(all, func(job *raftlogv1.JobState) bool { return job.GetJob().GetName() == "late" })
	for _, is := range []*raftlogv1.JobState{state("late", true, 0, 30, 150), state("late", false, 1, 30, 0)} {
		if err := db.Update(func(tx *kv.Tx) error {
			w, err := jobs.NewWriter(tx)
			return errors.Join(err, w.Put(all[i], is), w.Flush())
		}); err != nil {
			t.Fatal(err)
		}
		all[i] = is
		if want := map[bool]string{true: "short late long bad", false: "short long bad"}[is.GetInProgress()]; list(true, 0) != want {
			t.Errorf("in progress: %s, want %s", list(true, 0), want)
		}
	}
	if got := list(false, 0); got != "before-1970 z-early same-a same-b a-failed late" {
		t.Errorf("nobody has %s", got)
	}
}
