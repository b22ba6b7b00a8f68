package config

import (
	"time"

	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/planner/schedule"
)

// Compaction holds the settings of compaction jobs. The flags have Pyroscope's
// names.
type Compaction struct {
	// How long an assignment of a job, or its renewal, lasts.
	JobLease time.Duration
	// A job with as many failures is not assigned again; 0 for no limit.
	FailuresMax int
	// Jobs that a group may have at a time; 0 for no limit.
	JobsMax int
}

func defaultCompaction() Compaction {
	c := schedule.Defaults()
	return Compaction{JobLease: c.Lease, FailuresMax: int(c.FailuresMax), JobsMax: c.Compaction.JobsMax}
}

// Schedule is what the groups' leaders plan by. The settings must be valid.
func (c Compaction) Schedule() schedule.Config {
	config := schedule.Defaults()
	config.Lease, config.FailuresMax, config.Compaction.JobsMax = c.JobLease, uint32(c.FailuresMax), c.JobsMax
	return config
}

func (c *Compaction) settings() settings {
	return settings{
		{"metastore.compaction-job-lease-duration", "DURATION", "how long a compaction worker may be silent before others get its job; workers report every 5s, 1s to 1h",
			(*duration)(&c.JobLease), between(&c.JobLease, time.Second, time.Hour)},
		{"metastore.compaction-max-failures", "N", "failures after which a compaction job is taken apart instead of assigned again, up to 16; 0 for no limit",
			(*number)(&c.FailuresMax), between(&c.FailuresMax, 0, schedule.FailuresCap)},
		{"metastore.compaction-max-job-queue-size", "N", "compaction jobs that a group may have at a time; 0 for no limit",
			(*number)(&c.JobsMax), between(&c.JobsMax, 0, 1<<30)},
	}
}

// Retention holds the settings of retention. The flags have Pyroscope's names.
type Retention struct {
	// For tenants without an override; 0 is for ever.
	Period time.Duration
	// Time between two sweeps; 0 for none.
	Interval time.Duration
	// How long a partition stays after its end and its period.
	Grace time.Duration
	// YAML file with overrides of tenants; empty for none.
	OverridesFile string
	// How often that file is looked at.
	OverridesReload time.Duration
}

func defaultRetention() Retention {
	c := retention.Defaults()
	return Retention{Period: c.Periods.Default, Interval: 15 * time.Minute, Grace: c.Grace, OverridesReload: 10 * time.Second}
}

// Plan is what sweeps follow, without overrides. The settings must be valid.
func (r Retention) Plan() retention.Config {
	config := retention.Defaults()
	config.Periods.Default, config.Grace = r.Period, r.Grace
	return config
}

func (r *Retention) settings() settings {
	const century = 100 * 365 * 24 * time.Hour
	return settings{
		{"retention-period", "PERIOD", "how long tenants without an override keep their data, such as 31d or 2w; 0 for ever",
			(*period)(&r.Period), between(&r.Period, 0, century)},
		{"metastore.index.cleanup-interval", "DURATION", "time between two sweeps of retention, 10s or more; 0 for no retention",
			(*duration)(&r.Interval), noneOrBetween(&r.Interval, 10*time.Second, 24*time.Hour)},
		{"metastore.index.cleanup-grace-period", "DURATION", "how long a partition stays after its end and its period, for data that comes late",
			(*duration)(&r.Grace), between(&r.Grace, 0, century)},
		{"runtime-config.file", "FILE", "YAML file with overrides of tenants (overrides: {TENANT: {retention_period: 31d}}), read again when it changes; empty for none",
			(*text)(&r.OverridesFile), nil},
		{"runtime-config.reload-period", "DURATION", "how often to look whether that file changed, 1s to 10m",
			(*duration)(&r.OverridesReload), between(&r.OverridesReload, time.Second, 10*time.Minute)},
	}
}
