package config

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner/adaptive"
	"github.com/skerrydb/skerry/shardgroup/spread"
)

// R-PLC-10, R-PLC-13: Pyroscope's names and defaults; rules are written where somebody
// may read them.
func TestSpread(t *testing.T) {
	parse := func(args ...string) (Server, error) {
		return Parse(CommandNode, args, environment(), io.Discard)
	}
	for args, want := range map[string]bool{
		"":                                 false,
		"-storage.filesystem.dir x":        true,
		"-adaptive-placement.enabled true": true,
		"-storage.backend s3 -storage.s3.endpoint e -storage.s3.bucket-name b":                                   true,
		"-storage.backend s3 -storage.s3.endpoint e -storage.s3.bucket-name b -adaptive-placement.enabled false": false,
	} {
		if s, err := parse(strings.Fields(args)...); err != nil || s.SpreadsDatasets() != want {
			t.Errorf("%q: %v, %v, want %v", args, s.SpreadsDatasets(), err, want)
		}
	}
	s, err := parse()
	want := spread.Options{Interval: 15 * time.Second, Config: adaptive.Defaults(), Limits: adaptive.DefaultLimits(), ExportLimits: true}
	if got := s.Spread.Options(); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	s, err = parse(strings.Fields(`-adaptive-placement.placement-rules-update-interval 20s -adaptive-placement.placement-rules-retention-period 1m
		-adaptive-placement.stats-confidence-period 2m -adaptive-placement.stats-aggregation-window 3s -adaptive-placement.stats-retention-period 4m
		-adaptive-placement.std-dev exact -adaptive-placement.tenant-shards 5 -adaptive-placement.load-balancing round-robin
		-adaptive-placement.min-dataset-shards 6 -adaptive-placement.max-dataset-shards 7 -adaptive-placement.unit-size-bytes 131073
		-adaptive-placement.burst-window 8m -adaptive-placement.decay-window 9m -adaptive-placement.export-shard-limit-metrics=false
		-adaptive-placement.export-shard-usage-metrics -adaptive-placement.export-shard-usage-breakdown-metrics`)...)
	config := adaptive.Defaults()
	config.Window, config.StatsRetention, config.RulesRetention, config.Deviation = 3*time.Second, 4*time.Minute, time.Minute, adaptive.Exact
	want = spread.Options{
		Interval: 20 * time.Second, Confidence: 2 * time.Minute, Config: config, ExportUsage: true, ExportBreakdown: true,
		Limits: adaptive.Limits{
			TenantShards: 5, MinDatasetShards: 6, MaxDatasetShards: 7, UnitBytes: 131073, BurstWindow: 8 * time.Minute, DecayWindow: 9 * time.Minute,
			LoadBalancing: adaptive.RoundRobin,
		},
	}
	if got := s.Spread.Options(); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for args, fault := range map[string]string{
		"-adaptive-placement.enabled maybe":                                                 "auto, true, false",
		"-adaptive-placement.min-dataset-shards 5 -adaptive-placement.max-dataset-shards 4": "no more than adaptive-placement.max-dataset-shards",
		"-adaptive-placement.placement-rules-update-interval 0s":                            "want 1s to 10m0s",
		"-adaptive-placement.load-balancing random":                                         "dynamic, fingerprint, round-robin",
		"-adaptive-placement.max-dataset-shards 0":                                          "want 1 to",
	} {
		if _, err := parse(strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%q: got %v, want %s", args, err, fault)
		}
	}
}
