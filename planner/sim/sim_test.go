package sim

import (
	"flag"
	"testing"

	"github.com/skerrydb/skerry/planner/schedule"
)

var (
	seeds = flag.Uint64("seeds", 1000, "number of simulations")
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
	for s := range count {
		if err := Run(options(s + 1)); err != nil {
			t.Fatal(err)
		}
	}
}
