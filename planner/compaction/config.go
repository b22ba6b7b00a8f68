package compaction

import (
	"errors"
	"fmt"
	"time"
)

// Level bounds the jobs whose sources have one level.
type Level struct {
	// Blocks of one job, at least 1. A key with as many is due at once. The queue
	// table keeps the keys that have as many in an order of their own, so all of a
	// group's planners must use the same number.
	BlocksMax int
	// A key whose oldest block waits longer is due with whatever it has.
	AgeMax time.Duration
}

// Config is what planning follows. The zero value plans nothing; see Defaults.
type Config struct {
	// By level of the sources; blocks of level len(Levels) are final.
	Levels []Level
	// Block creation times (those in the ids) of one job differ by this at most.
	SpanMax time.Duration
	// Age from which a tombstone may be handed out. It must exceed the longest query
	// and the time in which writers repeat an add.
	TombstoneDelay time.Duration
	// Tombstones on one job; 0 deletes nothing.
	TombstonesMax int
	// Jobs of levels below this carry tombstones.
	TombstoneLevels uint32
	// Jobs that may exist, of any state; 0 for no limit.
	JobsMax int
	// Rows that one plan may pass over in one level, because their stream may not
	// make new transfers; at least 1.
	SkipsMax int
}

// Defaults are Pyroscope's, to which its workers and dashboards are tuned.
func Defaults() Config {
	return Config{
		Levels:          []Level{{20, 36 * time.Second}, {10, 12 * time.Minute}, {10, 3 * time.Hour}},
		SpanMax:         3 * time.Hour,
		TombstoneDelay:  15 * time.Minute,
		TombstonesMax:   2,
		TombstoneLevels: 2,
		JobsMax:         10_000,
		SkipsMax:        1024,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(len(c.Levels) == 0, "no levels")
	for i, level := range c.Levels {
		fault(level.BlocksMax < 1, "level %d: %d blocks in a job, must be at least 1", i, level.BlocksMax)
		fault(level.AgeMax < 0, "level %d: negative age %v", i, level.AgeMax)
	}
	fault(c.SpanMax < 0, "negative span %v", c.SpanMax)
	fault(c.TombstoneDelay < 0, "negative tombstone delay %v", c.TombstoneDelay)
	fault(c.TombstonesMax < 0, "negative number of tombstones %d", c.TombstonesMax)
	fault(c.JobsMax < 0, "negative number of jobs %d", c.JobsMax)
	fault(c.SkipsMax < 1, "%d rows may be passed over, must be at least 1", c.SkipsMax)
	return errors.Join(faults...)
}

// Room is how many jobs may be added to those that exist.
func (c Config) Room(jobs int) int {
	if c.JobsMax == 0 {
		return int(^uint(0) >> 1)
	}
	return max(0, c.JobsMax-jobs)
}
