package planner

import (
	"math"
	"time"
)

// Time is a moment of a group's log time, in Unix nanoseconds. Log time never goes
// backwards; no clock of a worker has part in it. The zero value stands for "not
// set", and for the earliest moment there is.
type Time int64

// Never is later than every other moment.
const Never Time = math.MaxInt64

// Add moves a moment; it stops at Never and at the smallest value instead of
// wrapping around.
func (t Time) Add(d time.Duration) Time {
	sum := t + Time(d)
	switch {
	case t == Never || d > 0 && sum < t:
		return Never
	case d < 0 && sum > t:
		return math.MinInt64
	}
	return sum
}

// Sub is the time from u to t, within the bounds of a duration.
func (t Time) Sub(u Time) time.Duration {
	difference := t - u
	switch {
	case t > u && difference < 0:
		return math.MaxInt64
	case t < u && difference > 0:
		return math.MinInt64
	}
	return time.Duration(difference)
}

// String prints UTC with the precision the moment has.
func (t Time) String() string {
	switch t {
	case 0:
		return "not set"
	case Never:
		return "never"
	}
	return time.Unix(0, int64(t)).UTC().Format("2006-01-02T15:04:05.999Z")
}
