package shardgroup

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
)

// compactionMetrics count what a node decides as leader about compaction and
// retention. Names with the prefix pyroscope_metastore_ are Pyroscope's. What
// waits is told at scrape time, by groupState.
type compactionMetrics struct {
	polls     *prometheus.CounterVec
	decisions *prometheus.CounterVec
	planning  prometheus.Histogram
	reports   *prometheus.CounterVec

	added, completed, assigned, reassigned *prometheus.CounterVec
	evicted, givenUp, failed               *prometheus.CounterVec

	sweeps                                       *prometheus.CounterVec
	removedShards, removedBlocks, removedObjects prometheus.Counter
	lastSweep                                    prometheus.Gauge
}

func newCompactionMetrics() *compactionMetrics {
	jobs := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"level"})
	}
	scheduler := func(what, help string) *prometheus.CounterVec {
		return jobs("pyroscope_metastore_compaction_scheduler_queue_"+what+"_jobs_total", help)
	}
	return &compactionMetrics{
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_compaction_polls_total", Help: "Polls of compaction workers, by the code they were answered with.",
		}, []string{"code"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_compaction_decisions_total",
			Help: "Decisions about polls: applied, nothing to do (empty), refused because the state had changed, not valid, of unknown outcome (failed).",
		}, []string{"outcome"}),
		planning: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "skerry_compaction_planning_duration_seconds", Help: "Time to decide a poll, without replicating the decision.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 3, 10),
		}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_compaction_reports_total", Help: "Reports of workers about their jobs, by what became of them.",
		}, []string{"outcome"}),
		added:      scheduler("added", "Compaction jobs created."),
		completed:  scheduler("completed", "Compaction jobs that succeeded."),
		assigned:   scheduler("assigned", "Compaction jobs given to a worker, those that nobody had before."),
		reassigned: scheduler("reassigned", "Compaction jobs given to another worker after their lease ended."),
		evicted:    scheduler("evicted", "Failed compaction jobs taken apart to make room in a full queue."),
		givenUp:    jobs("skerry_compaction_given_up_jobs_total", "Compaction jobs taken apart after too many failures; their blocks are tried again in smaller ones."),
		failed:     jobs("skerry_compaction_failed_jobs_total", "Failures of compaction jobs: results that were refused, and leases that ended."),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_retention_sweeps_total", Help: "Sweeps for expired data, by outcome: complete, budget used, superseded by another leader, failed.",
		}, []string{"outcome"}),
		removedShards:  prometheus.NewCounter(prometheus.CounterOpts{Name: "skerry_retention_removed_index_shards_total", Help: "Index shards removed because their data was past its period."}),
		removedBlocks:  prometheus.NewCounter(prometheus.CounterOpts{Name: "skerry_retention_removed_blocks_total", Help: "Blocks removed with them."}),
		removedObjects: prometheus.NewCounter(prometheus.CounterOpts{Name: "skerry_retention_removed_object_bytes_total", Help: "Bytes of the objects of these blocks."}),
		lastSweep: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_retention_last_success_timestamp_seconds", Help: "When a sweep of any group that the node leads last succeeded; 0 for never.",
		}),
	}
}

func (m *compactionMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.polls, m.decisions, m.planning, m.reports, m.added, m.completed, m.assigned, m.reassigned, m.evicted, m.givenUp, m.failed,
		m.sweeps, m.removedShards, m.removedBlocks, m.removedObjects, m.lastSweep,
	}
}

// reported counts what became of the reports of a poll that was answered.
func (m *compactionMetrics) reported(d schedule.Decision) {
	for _, report := range d.Reports {
		m.reports.WithLabelValues(reportOutcome(report.Reason.Code)).Inc()
	}
}

func reportOutcome(code planner.Code) string {
	switch code {
	case planner.Renewed:
		return "renewed"
	case planner.Completed:
		return "completed"
	case planner.CompletedEmpty:
		return "completed_empty"
	case planner.CompletedBefore:
		return "completed_before"
	case planner.BadResult:
		return "bad_result"
	case planner.BadStatus:
		return "bad_status"
	case planner.RepeatedUpdate:
		return "repeated"
	default: // unknown jobs, other tokens, no lease
		return "not_owner"
	}
}

func levelLabel(level uint32) string { return strconv.FormatUint(uint64(level), 10) }

// carriedOut counts what a decision did that was applied.
func (m *compactionMetrics) carriedOut(d schedule.Decision) {
	for _, job := range d.Create {
		m.added.WithLabelValues(levelLabel(job.Level)).Inc()
	}
	for _, c := range d.Complete {
		m.completed.WithLabelValues(levelLabel(c.Was.Level)).Inc()
	}
	for _, g := range d.Assign {
		level := levelLabel(g.Was.Level)
		if g.Reason.Code == planner.AssignedAgain {
			m.failed.WithLabelValues(level).Inc()
			m.reassigned.WithLabelValues(level).Inc()
		} else {
			m.assigned.WithLabelValues(level).Inc()
		}
	}
	for _, f := range d.Fail {
		m.failed.WithLabelValues(levelLabel(f.Was.Level)).Inc()
	}
	for _, up := range d.GiveUp {
		level := levelLabel(up.Was.Level)
		switch up.Reason.Code {
		case planner.Evicted:
			m.evicted.WithLabelValues(level).Inc()
		case planner.BadResult:
			m.failed.WithLabelValues(level).Inc()
			m.givenUp.WithLabelValues(level).Inc()
		default:
			m.givenUp.WithLabelValues(level).Inc()
		}
	}
}
