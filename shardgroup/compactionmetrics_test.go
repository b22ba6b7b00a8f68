package shardgroup_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// gathered returns the value of each series, under its name and labels' values.
func gathered(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			series := []string{family.GetName()}
			for _, label := range metric.GetLabel() {
				series = append(series, label.GetValue())
			}
			values[strings.Join(series, " ")] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	return values
}

// The node that leads a group tells what waits in it, and what it decided.
func TestCompactionMetrics(t *testing.T) {
	registry, clock := prometheus.NewRegistry(), newClock(blockTime)
	node, err := openReady(t.Context(), shardgroup.Options{
		Found:   true,
		DataDir: t.TempDir(), RaftAddress: freeAddress(t), Groups: 1, RTT: 5 * time.Millisecond,
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20, Now: clock.now,
	}, zaptest.NewLogger(t), registry)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the leader's claim", func() bool { return node.LeaderEpoch(dataGroup) > 0 })
	m := rangeMap(t, node)
	for serial := range 22 {
		add(t, node, m, testBlock(serial, "", 1, 0, "anna"))
	}
	add(t, node, m, testBlock(1, "anna", 1, 1))
	clock.advance(10 * time.Second)
	const scheduler = "pyroscope_metastore_compaction_scheduler_queue_"
	want := func(wanted map[string]float64) {
		t.Helper()
		values := gathered(t, registry)
		for series, value := range wanted {
			if got, found := values[series]; got != value || !found {
				t.Errorf("%s is %v (%v), want %v", series, got, found, value)
			}
		}
	}
	want(map[string]float64{
		"pyroscope_metastore_compaction_global_queue_blocks_current 0": 22, "pyroscope_metastore_compaction_global_queue_blocks_current 1": 1,
		"skerry_compaction_lag_seconds 2 0": 10, "skerry_compaction_lag_seconds 2 2": 0, "skerry_compaction_paused 2": 0,
		scheduler + "jobs 0 unassigned": 0,
	})
	poll(t, node, 1)
	want(map[string]float64{scheduler + "jobs 0 unassigned": 1, scheduler + "added_jobs_total 0": 1, "pyroscope_metastore_compaction_global_queue_blocks_current 0": 2})
	first := poll(t, node, 1).GetPoll()
	want(map[string]float64{scheduler + "jobs 0 assigned": 1, scheduler + "assigned_jobs_total 0": 1})
	clock.advance(16 * time.Second)
	second := poll(t, node, 1).GetPoll() // the owner fell silent
	want(map[string]float64{scheduler + "jobs 0 reassigned": 1, scheduler + "reassigned_jobs_total 0": 1, "skerry_compaction_failed_jobs_total 0": 1})
	poll(t, node, 0, inProgress(first.GetAssignments()[0]))
	sources, err := sourcesOf(t.Context(), t, node, m, second.GetCompactionJobs()[0])
	if err != nil {
		t.Fatal(err)
	}
	poll(t, node, 0, success(second.GetAssignments()[0], merge(second.GetCompactionJobs()[0], sources)))
	poll(t, node, 0, &metastorev1.CompactionJobStatusUpdate{Name: "unknown"})
	want(map[string]float64{
		scheduler + "completed_jobs_total 0": 1, scheduler + "jobs 0 reassigned": 0, "skerry_tombstones waiting": 1, "skerry_tombstones carried": 0,
		"skerry_compaction_reports_total completed": 1, "skerry_compaction_reports_total not_owner": 1, "skerry_compaction_reports_total bad_status": 1,
		"skerry_compaction_decisions_total applied": 4, "skerry_compaction_decisions_total empty": 2, "skerry_compaction_polls_total OK": 6,
	})
	wantControl(t, node, pause, "", true)
	want(map[string]float64{"skerry_compaction_paused 2": 1})
	closeNode(t, node)
	if left := gathered(t, registry); len(left) != 0 {
		t.Errorf("metrics of a closed node: %v", left)
	}
}
