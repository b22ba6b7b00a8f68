package overrides_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/skerrydb/skerry/planner/adaptive"
	"github.com/skerrydb/skerry/shardgroup/overrides"
)

const day = 24 * time.Hour

func TestParse(t *testing.T) {
	for content, want := range map[string]map[string]time.Duration{
		"overrides: {}\n":                                                                    {},
		"overrides: {a: {}, b: {}}\n":                                                        {},
		"overrides: {a: {other: [1, {}]}}\n":                                                 {},
		"unrelated: 1\noverrides: {a: {retention_period: 31d}}\n":                            {"a": 31 * day},
		"overrides: {a: {retention_period: 0}, b: {retention_period: 0s}}\n":                 {"a": 0, "b": 0},
		"overrides: {a: {retention_period: 1h30m}, 12: {retention_period: \"2w\"}}\n":        {"a": 90 * time.Minute, "12": 14 * day},
		"overrides:\n  a: &x {retention_period: 1y}\n  b: *x\n  c: {<<: *x, z: 1}\n":         {"a": 365 * day, "b": 365 * day, "c": 365 * day},
		"period: &p 5d\noverrides: {a: {retention_period: *p}}\n":                            {"a": 5 * day},
		"{\"overrides\": {\"a\": {\"retention_period\": \"7d\", \"max_queriers\": null}}}\n": {"a": 7 * day},
	} {
		if got, err := overrides.Parse([]byte(content)); err != nil || !maps.Equal(got.Periods, want) || len(got.Placement) != 0 {
			t.Errorf("%s: got %v, %v, want %v", content, got, err, want)
		}
	}
	for content, want := range map[string]string{
		"":           "is empty",
		" \n":        "is empty",
		"# empty\n":  "no `overrides`",
		"other: 1\n": "no `overrides`",
		"overrides: {a: {retention_period: soon}}\n":                             `tenant "a"`,
		"overrides: {a: {retention_period: -5d}}\n":                              `tenant "a"`,
		"overrides: {a: {retention_period: 5}}\n":                                `tenant "a"`,
		"overrides:\n  a:\n    retention_period: [1d]\n":                         "line 3",
		"overrides: {a: {retention_period: }}\n":                                 "no duration",
		"overrides:\n":                                                           "followed by nothing",
		"overrides:\n  a:\n":                                                     "followed by nothing",
		"overrides: [a]\n":                                                       "cannot unmarshal",
		"overrides: {a: {retention_period: 1d}, a: {retention_period: 2d}}\n":    "already defined",
		"overrides: {a: {retention_period: 1d, retention_period: 2d}}\n":         "already defined",
		"overrides: {a: {retention_period: 999999999y}}\n":                       "range",
		"overrides: {\n":                                                         "yaml:",
		"overrides: {a: {retention_period: 9999999999999999999999999999999s}}\n": `tenant "a"`,
		"overrides: {a: {adaptive_placement_unit_size_bytes: -1}}\n":             "write a whole number",
		"overrides: {a: {adaptive_placement_max_dataset_shards: 2147483649}}\n":  "from 0 to 2147483648",
		"overrides: {a: {adaptive_placement_min_dataset_shards: [1]}}\n":         "no whole number",
		"overrides: {a: {adaptive_placement_decay_window: 5}}\n":                 "such as 19m",
		"overrides: {a: {adaptive_placement_load_balancing: Random}}\n":          "dynamic, fingerprint or round-robin",
		"overrides: {a: {ingestion_tenant_shard_size: many}}\n":                  "ingestion_tenant_shard_size",
	} {
		if got, err := overrides.Parse([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want %s", content, got, err, want)
		}
	}
}

// R-PLC-10: Pyroscope's names of the limits.
func TestParsePlacement(t *testing.T) {
	said, err := overrides.Parse([]byte(`overrides:
  all:
    adaptive_placement_tenant_shards: 3
    adaptive_placement_default_dataset_shards: 2
    adaptive_placement_load_balancing: round-robin
    adaptive_placement_min_dataset_shards: 4
    adaptive_placement_max_dataset_shards: 5
    adaptive_placement_unit_size_bytes: 0
    adaptive_placement_burst_window: 1m
    adaptive_placement_decay_window: 1d
    ingestion_tenant_shard_size: 7
  none: {retention_period: 1d}
  one: {adaptive_placement_unit_size_bytes: 65536}
`))
	if err != nil || len(said.Placement) != 2 {
		t.Fatalf("got %v, %v", said, err)
	}
	want := adaptive.Limits{
		TenantShards: 7, MinDatasetShards: 4, MaxDatasetShards: 5, UnitBytes: 0,
		BurstWindow: time.Minute, DecayWindow: day, LoadBalancing: adaptive.RoundRobin,
	}
	if got := adaptive.DefaultLimits().With(said.Placement["all"]); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want = adaptive.DefaultLimits()
	want.UnitBytes = 65536
	if got := adaptive.DefaultLimits().With(said.Placement["one"]); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overrides.yaml")
	core, logs := observer.New(zap.InfoLevel)
	registry := prometheus.NewRegistry()
	file, err := overrides.Open(path, zap.New(core), registry)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Periods(); !errors.Is(err, overrides.ErrUnknown) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := file.Placement(); !errors.Is(err, overrides.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, stopped := make(chan time.Time), make(chan struct{})
	go func() { defer close(stopped); file.Run(ctx, ticks) }()
	lines, lastSuccess := 1, 0.0
	for _, step := range []struct {
		content string // "-" removes the file
		want    map[string]time.Duration
		right   bool
		lines   int
	}{
		{"overrides: {a: {retention_period: 1d}}", map[string]time.Duration{"a": day}, true, 1},
		{"overrides: {a: {retention_period: 1d}}", map[string]time.Duration{"a": day}, true, 0},
		{"overrides: {a: {retention_period: 1x}}", map[string]time.Duration{"a": day}, false, 1},
		{"overrides: {a: {retention_period: 1x}}", map[string]time.Duration{"a": day}, false, 0},
		{"-", map[string]time.Duration{"a": day}, false, 1},
		{"-", map[string]time.Duration{"a": day}, false, 0},
		{"overrides: {a: {retention_period: 1d}}", map[string]time.Duration{"a": day}, true, 1},
		{"overrides: {a: {retention_period: 24h}}", map[string]time.Duration{"a": day}, true, 0},
		{"overrides: {}", map[string]time.Duration{}, true, 1},
	} {
		if step.content == "-" {
			_ = os.Remove(path)
		} else {
			replace(t, path, step.content)
		}
		ticks <- time.Time{}
		ticks <- time.Time{} // the one before was worked off
		lines += step.lines
		if got, err := file.Periods(); err != nil || !maps.Equal(got, step.want) {
			t.Errorf("%s: got %v, %v", step.content, got, err)
		}
		if logs.Len() != lines {
			t.Errorf("%s: %d lines, want %d: %v", step.content, logs.Len(), lines, logs.All())
		}
		right, at := gauges(t, registry)
		if right != step.right || at < lastSuccess || at == 0 {
			t.Errorf("%s: right %v, since %v", step.content, right, at)
		}
		lastSuccess = at
	}
	cancel()
	<-stopped
}

func gauges(t *testing.T, registry *prometheus.Registry) (right bool, at float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		value := family.GetMetric()[0].GetGauge().GetValue()
		if strings.HasSuffix(family.GetName(), "_successful") {
			right = value == 1
		} else {
			at = value
		}
	}
	return right, at
}

// replace changes a file at once: it may be read meanwhile.
func replace(t *testing.T, path, content string) {
	t.Helper()
	err := os.WriteFile(path+".new", []byte(content), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// One that cannot be opened leaves the metrics of another alone.
func TestOpenedTwice(t *testing.T) {
	registry := prometheus.NewRegistry()
	path := filepath.Join(t.TempDir(), "overrides.yaml")
	first, err := overrides.Open(path, zap.NewNop(), registry)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := overrides.Open(path, zap.NewNop(), registry); err == nil {
		t.Fatal("the same metrics were registered twice")
	}
	if families, err := registry.Gather(); err != nil || len(families) != 2 {
		t.Errorf("%d metrics are left, want 2 (%v)", len(families), err)
	}
}
