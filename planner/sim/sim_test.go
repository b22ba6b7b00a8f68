package sim

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
)

var (
	seeds = flag.Uint64("seeds", 400, "number of simulations")
	seed  = flag.Uint64("seed", 0, "run this one only")
)

func options(seed uint64) Options {
	return Options{Seed: seed, Steps: 200, Config: Config(), Poll: schedule.Poll}
}

// TestFleet runs the planner through many bad days.
func TestFleet(t *testing.T) {
	if *seed != 0 {
		if err := Run(options(*seed)); err != nil {
			t.Fatal(err)
		}
		return
	}
	count := *seeds
	if testing.Short() {
		count = min(count, 200)
	}
	const parts = 4
	for part := range uint64(parts) {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for s := part; s < count; s += parts {
				if err := Run(options(s + 1)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestFleetRepeats demands that a seed decides everything.
func TestFleetRepeats(t *testing.T) {
	history := func() string {
		var all strings.Builder
		o := options(7)
		o.Poll = func(view schedule.View, config schedule.Config, now planner.Time, request schedule.Request) (schedule.Decision, error) {
			d, err := schedule.Poll(view, config, now, request)
			fmt.Fprintf(&all, "%v %v %v %v %v %v\n", d.Now, d.Reports, d.Renew, d.Assign, d.Create, d.Stopped)
			return d, err
		}
		if err := Run(o); err != nil {
			t.Fatal(err)
		}
		return all.String()
	}
	if first, second := history(), history(); first != second {
		t.Error("the same seed gave two histories")
	}
}

// TestFleetMeetsEverything demands that the simulation is worth something: that all
// kinds of decisions and refusals occur.
func TestFleetMeetsEverything(t *testing.T) {
	met := map[planner.Code]int{}
	stale := 0
	for s := range uint64(100) {
		o := options(s + 1)
		o.Poll = func(view schedule.View, config schedule.Config, now planner.Time, request schedule.Request) (schedule.Decision, error) {
			d, err := schedule.Poll(view, config, now, request)
			met[d.Stopped.Code]++
			for _, report := range d.Reports {
				met[report.Reason.Code]++
			}
			for _, grant := range d.Assign {
				met[grant.Reason.Code]++
			}
			for _, up := range d.GiveUp {
				met[up.Reason.Code]++
			}
			for _, job := range d.Create {
				met[job.Reason.Code]++
			}
			return d, err
		}
		f := newFleet(o)
		for range o.Steps {
			late := len(f.late)
			before := f.tables.revisions
			if err := f.step(); err != nil {
				t.Fatal(err)
			}
			if len(f.late) < late && f.tables.revisions == before {
				stale++
			}
		}
		if err := f.recover(); err != nil {
			t.Fatal(err)
		}
	}
	for _, code := range []planner.Code{
		planner.BatchFull, planner.BatchAged, planner.SpanClosed, planner.ReturnedDue, planner.CleanupDue, planner.NothingDue,
		planner.OutboxFull, planner.CapacityUsed, planner.JobQueueFull, planner.AssignedNew, planner.AssignedAgain, planner.Renewed,
		planner.Completed, planner.CompletedEmpty, planner.CompletedBefore, planner.UnknownJob, planner.StaleToken, planner.NotLeased,
		planner.BadResult, planner.GivenUp, planner.Evicted,
	} {
		if met[code] == 0 {
			t.Errorf("never met: %v", planner.Reason{Code: code})
		}
	}
	if stale == 0 {
		t.Error("never met: a stale decision")
	}
}
