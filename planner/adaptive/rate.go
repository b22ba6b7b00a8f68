package adaptive

import (
	"math"
	"time"

	"github.com/skerrydb/skerry/planner"
)

// Samples closer together than this are gathered.
const resolution = time.Second

// rate is a mean per second that weighs what is older less: an exponentially
// weighted moving average. The zero value has seen nothing.
type rate struct {
	last planner.Time
	// Per second, as of last.
	mean float64
	// Of what came at last and since.
	sum float64
}

// add takes a sample. One from before the last is dropped.
func (r *rate) add(value float64, at planner.Time, halfLife time.Duration) {
	elapsed := at.Sub(r.last)
	if elapsed < 0 {
		return
	}
	if elapsed >= resolution {
		r.mean, r.sum, r.last = r.after(elapsed, halfLife), 0, at
	}
	r.sum += value
}

// at returns the rate at a moment.
func (r *rate) at(t planner.Time, halfLife time.Duration) float64 {
	if elapsed := t.Sub(r.last); elapsed >= resolution {
		return r.after(elapsed, halfLife)
	}
	return r.mean
}

func (r *rate) after(elapsed, halfLife time.Duration) float64 {
	tau := max(time.Second, halfLife).Seconds() / math.Ln2
	share := 1 - math.Exp(-elapsed.Seconds()/tau)
	return share*(r.sum/elapsed.Seconds()) + (1-share)*r.mean
}
