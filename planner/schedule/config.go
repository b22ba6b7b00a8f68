package schedule

import (
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/planner/compaction"
)

// FailuresCap is where failures stop counting. Jobs are sorted by failures, and an
// assignment looks at each number there is: it must be small.
const FailuresCap = 16

// Config is what scheduling follows; see Defaults.
type Config struct {
	Compaction compaction.Config
	// How long an assignment or a renewal lasts.
	Lease time.Duration
	// A job with as many failures is not assigned again, at most FailuresCap; 0 for
	// no limit.
	FailuresMax uint32
	// How long the owner of such a job may stay silent after its lease, before the
	// job is taken apart.
	GiveUpAfter time.Duration
	// Jobs that one poll takes apart at most, other than to make room; at least 1.
	GiveUpsMax int
	// Wait before the blocks of a failed job are tried again: BackoffMin after the
	// first failed job, twice as long after each further one, at most BackoffMax.
	BackoffMin, BackoffMax time.Duration
	// Failed jobs after which a block waits for an operator; 0 for no limit.
	AttemptsMax uint32
	// Jobs assigned, and jobs created, in one poll at most, whatever the worker asks
	// for; at least 1.
	PollJobsMax int
	// Nothing is assigned or created; reports still count.
	Paused bool
}

// Defaults are Pyroscope's where it has the notion.
func Defaults() Config {
	return Config{
		Compaction:  compaction.Defaults(),
		Lease:       15 * time.Second,
		FailuresMax: 3,
		GiveUpAfter: time.Minute,
		GiveUpsMax:  16,
		BackoffMin:  time.Minute,
		BackoffMax:  6 * time.Hour,
		AttemptsMax: 30,
		PollJobsMax: 256,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	faults := []error{c.Compaction.Validate()}
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.Lease <= 0, "lease of %v, must be positive", c.Lease)
	fault(c.FailuresMax > FailuresCap, "%d failures, must be at most %d", c.FailuresMax, FailuresCap)
	fault(c.GiveUpAfter < 0, "negative time before giving up %v", c.GiveUpAfter)
	fault(c.GiveUpsMax < 1, "%d jobs given up in a poll, must be at least 1", c.GiveUpsMax)
	fault(c.BackoffMin <= 0, "back-off of %v, must be positive", c.BackoffMin)
	fault(c.BackoffMax < c.BackoffMin, "longest back-off %v is below the shortest, %v", c.BackoffMax, c.BackoffMin)
	fault(c.PollJobsMax < 1, "%d jobs in a poll, must be at least 1", c.PollJobsMax)
	return errors.Join(faults...)
}

// exhausted tells whether a job with so many failures is not assigned any more.
func (c Config) exhausted(failures uint32) bool {
	return c.FailuresMax > 0 && failures >= c.FailuresMax
}

// backoff is the wait after a block's attempts-th failed job.
func (c Config) backoff(attempts uint32) time.Duration {
	wait := c.BackoffMin
	for ; attempts > 1 && wait < c.BackoffMax; attempts-- {
		wait *= 2
	}
	return min(wait, c.BackoffMax)
}
