package sim

import (
	"time"

	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
)

// What the witness demands, whatever the planner believes.
const (
	// Delay is the age that tombstones must exceed.
	Delay = 15 * time.Minute
	// JobsMax is the number of jobs that may exist.
	JobsMax = 12
)

// Config is what runs follow: small jobs and a short queue, so that all limits are
// met in a few steps.
func Config() schedule.Config {
	config := schedule.Defaults()
	config.Compaction.Levels = []compaction.Level{{BlocksMax: 5, AgeMax: 36 * time.Second}, {BlocksMax: 3, AgeMax: 12 * time.Minute}, {BlocksMax: 3, AgeMax: 3 * time.Hour}}
	config.Compaction.JobsMax = JobsMax
	config.Compaction.TombstoneDelay = Delay
	config.BackoffMax = time.Hour
	config.AttemptsMax = 0
	return config
}
