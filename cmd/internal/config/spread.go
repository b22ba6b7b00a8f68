package config

import (
	"errors"
	"time"

	"github.com/skerrydb/skerry/planner/adaptive"
	"github.com/skerrydb/skerry/shardgroup/spread"
)

// Spread holds the settings of adaptive placement of datasets on shards. The flags
// have Pyroscope's names, where it has them.
type Spread struct {
	// auto, true or false; see SpreadsDatasets.
	Enabled              string
	Interval, Confidence time.Duration
	Rules                adaptive.Config
	Limits               adaptive.Limits
	StdDev               string
	Balancing            string
	// Numbers of the limits, as they are set.
	TenantShards, MinShards, MaxShards int
	UnitBytes                          int64
	// Metrics with a series for each dataset, or each of its shards.
	ExportLimits, ExportUsage, ExportBreakdown bool
}

const auto = "auto"

func defaultSpread() Spread {
	limits, rules := adaptive.DefaultLimits(), adaptive.Defaults()
	return Spread{
		Enabled: auto, Interval: 15 * time.Second, Rules: rules, Limits: limits, StdDev: string(rules.Deviation), Balancing: string(limits.LoadBalancing),
		TenantShards: int(limits.TenantShards), MinShards: int(limits.MinDatasetShards), MaxShards: int(limits.MaxDatasetShards),
		UnitBytes: int64(limits.UnitBytes), ExportLimits: true,
	}
}

// SpreadsDatasets tells whether the node takes part in adaptive placement. Without a
// word about it, it does where the object store was chosen: the folder inside the
// data folder is read by no distributor.
func (n Node) SpreadsDatasets() bool {
	if n.Spread.Enabled == auto {
		return n.Backend == BackendS3 || n.ObjectsDir != ""
	}
	return n.Spread.Enabled == "true"
}

// Options are the same for the node, without the bucket. The settings must be valid.
func (s Spread) Options() spread.Options {
	o := spread.Options{
		Interval: s.Interval, Confidence: s.Confidence, Config: s.Rules, Limits: s.Limits,
		ExportLimits: s.ExportLimits, ExportUsage: s.ExportUsage, ExportBreakdown: s.ExportBreakdown,
	}
	o.Config.Deviation = adaptive.Deviation(s.StdDev)
	o.Limits.LoadBalancing = adaptive.Balancing(s.Balancing)
	o.Limits.TenantShards, o.Limits.UnitBytes = uint64(s.TenantShards), uint64(s.UnitBytes)
	o.Limits.MinDatasetShards, o.Limits.MaxDatasetShards = uint64(s.MinShards), uint64(s.MaxShards)
	return o
}

func (s *Spread) settings() settings {
	const day = 24 * time.Hour
	const prefix = "adaptive-placement."
	return settings{
		{prefix + "enabled", "WORD", "whether to write rules into the object store over how many shards Pyroscope's distributors spread each dataset; auto: if the store is S3 or storage.filesystem.dir is set; false while Pyroscope's own metastore writes there",
			(*text)(&s.Enabled), oneOf(&s.Enabled, auto, "true", "false")},
		{prefix + "placement-rules-update-interval", "DURATION", "time between two updates of the rules, 1s to 10m",
			(*duration)(&s.Interval), between(&s.Interval, time.Second, 10*time.Minute)},
		{prefix + "placement-rules-retention-period", "DURATION", "how long the rule of a dataset stays that nothing comes of",
			(*duration)(&s.Rules.RulesRetention), between(&s.Rules.RulesRetention, time.Second, day)},
		{prefix + "stats-confidence-period", "DURATION", "how long a new leader makes rules without writing them",
			(*duration)(&s.Confidence), between(&s.Confidence, 0, day)},
		{prefix + "stats-aggregation-window", "DURATION", "half-life of the rates that rules follow",
			(*duration)(&s.Rules.Window), between(&s.Rules.Window, 0, day)},
		{prefix + "stats-retention-period", "DURATION", "how long the rate of a shard is followed that nothing comes to",
			(*duration)(&s.Rules.StatsRetention), between(&s.Rules.StatsRetention, time.Second, day)},
		{prefix + "std-dev", "WORD", "how to publish the deviation that dynamic load balancing goes by: pyroscope is too small by the update interval in seconds, so that hardly any dataset becomes round-robin; exact makes those so that are skewed, for ever",
			(*text)(&s.StdDev), oneOf(&s.StdDev, string(adaptive.AsPyroscope), string(adaptive.Exact))},
		{prefix + "tenant-shards", "N", "shards that a tenant may be spread over; 0 for no limit",
			(*number)(&s.TenantShards), between(&s.TenantShards, 0, adaptive.MaxShards)},
		{prefix + "load-balancing", "WORD", "how a dataset's series go to its shards: dynamic, fingerprint or round-robin",
			(*text)(&s.Balancing), oneOf(&s.Balancing, string(adaptive.Dynamic), string(adaptive.Fingerprint), string(adaptive.RoundRobin))},
		{prefix + "min-dataset-shards", "N", "least number of a dataset's shards",
			(*number)(&s.MinShards), both(between(&s.MinShards, 0, adaptive.MaxShards), notAbove(&s.MinShards, &s.MaxShards, prefix+"max-dataset-shards"))},
		{prefix + "max-dataset-shards", "N", "largest number of a dataset's shards",
			(*number)(&s.MaxShards), between(&s.MaxShards, 1, adaptive.MaxShards)},
		{prefix + "unit-size-bytes", "BYTES", "what one shard is to take of a dataset in a second; 0: usage does not count",
			(*byteCount)(&s.UnitBytes), between(&s.UnitBytes, 0, 1<<50)},
		{prefix + "burst-window", "DURATION", "growth that follows another one within this time gets more than it needs",
			(*duration)(&s.Limits.BurstWindow), between(&s.Limits.BurstWindow, 0, 30*day)},
		{prefix + "decay-window", "DURATION", "a dataset shrinks to what it needed in one to two windows",
			(*duration)(&s.Limits.DecayWindow), between(&s.Limits.DecayWindow, 0, 30*day)},
		{prefix + "export-shard-limit-metrics", "BOOL", "a metric with the shards of each dataset",
			(*toggle)(&s.ExportLimits), nil},
		{prefix + "export-shard-usage-metrics", "BOOL", "a metric with the usage of each dataset",
			(*toggle)(&s.ExportUsage), nil},
		{prefix + "export-shard-usage-breakdown-metrics", "BOOL", "a metric with the usage of each shard of each dataset",
			(*toggle)(&s.ExportBreakdown), nil},
	}
}

func notAbove(v, most *int, name string) func() error {
	return func() error {
		if *v > *most {
			return errors.New("want no more than " + name)
		}
		return nil
	}
}
