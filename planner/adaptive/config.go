package adaptive

import (
	"errors"
	"fmt"
	"time"
)

// Deviation is how the standard deviation of a dataset's usages is published.
type Deviation string

const (
	// AsPyroscope feeds it into a rate, once for each time that rules are made: what
	// is published is as many times too small as there are seconds in between.
	AsPyroscope Deviation = "pyroscope"
	// Exact publishes it.
	Exact Deviation = "exact"
)

// Config is what statistics and rules follow.
type Config struct {
	// Half-life of rates.
	Window time.Duration
	// A rate without a sample for that long is forgotten, and a rule without a rate.
	StatsRetention, RulesRetention time.Duration
	Deviation                      Deviation
	// Bounds of rates that are followed, and of rules.
	MaxRates, MaxRules int
}

// Defaults are Pyroscope's, with bounds of our own: some 50 MB.
func Defaults() Config {
	return Config{
		Window: 3 * time.Minute, StatsRetention: 15 * time.Minute, RulesRetention: 15 * time.Minute,
		Deviation: AsPyroscope, MaxRates: 200_000, MaxRules: 100_000,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var faults []error
	if c.Window < 0 || c.StatsRetention <= 0 || c.RulesRetention <= 0 {
		faults = append(faults, errors.New("the window cannot be negative, retention periods must be positive"))
	}
	if c.Deviation != AsPyroscope && c.Deviation != Exact {
		faults = append(faults, fmt.Errorf("the deviation is published as %.32q, must be %s or %s", c.Deviation, AsPyroscope, Exact))
	}
	if c.MaxRates < 1 || c.MaxRules < 1 {
		faults = append(faults, errors.New("at least one rate and one rule must be allowed"))
	}
	return errors.Join(faults...)
}
