package config

import "time"

// DeadLetters holds the settings of the recovery of what writers could not add.
type DeadLetters struct {
	// Time between two sweeps; 0 for none. The flag has Pyroscope's name.
	Interval time.Duration
}

func defaultDeadLetters() DeadLetters { return DeadLetters{Interval: 15 * time.Second} }

func (d *DeadLetters) settings() settings {
	return settings{
		{"metastore.index.dlq-recovery-check-interval", "DURATION", "time between two sweeps for blocks that writers could not add and left below dlq/ in the object store, 1s or more; 0 for no recovery",
			(*duration)(&d.Interval), noneOrBetween(&d.Interval, time.Second, 24*time.Hour)},
	}
}
