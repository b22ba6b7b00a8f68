package dlq

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a process's. Those with the prefix pyroscope_metastore_ are what
// Pyroscope's dashboards query.
type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector

	attempts      *prometheus.CounterVec
	sweeps        *prometheus.CounterVec
	lists         prometheus.Counter
	duration      prometheus.Histogram
	inProgress    prometheus.Gauge
	footers       prometheus.Counter
	deletesFailed prometheus.Counter
}

func newMetrics(r *Recovery) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pyroscope_metastore_dlq_recovery_attempts_total",
			Help: "Dead letters that were tried, by how that ended.",
		}, []string{"status"}),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_dlq_sweeps_total",
			Help: "Sweeps of groups for dead letters: complete, stopped by a change of leader, failed because a folder could not be listed; and those that did not begin: list_failed, no_room on the disk.",
		}, []string{"result"}),
		lists: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_dlq_list_calls_total", Help: "Lists of the object store in search of dead letters, in pages of 1,000.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "skerry_dlq_sweep_duration_seconds", Help: "Time of a sweep of one group, without listing the folders.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}),
		inProgress: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_dlq_entries_in_progress", Help: "Dead letters that are being recovered.",
		}),
		footers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_dlq_footers_used_total", Help: "Dead letters that were unreadable, and recovered from the copy of the metadata in the object.",
		}),
		deletesFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_dlq_failed_deletes_total", Help: "Dead letters that were recovered, but not deleted.",
		}),
	}
	for _, o := range outcomes {
		m.attempts.WithLabelValues(string(o))
	}
	for _, result := range []string{"complete", "stopped", "failed", "list_failed", "no_room"} {
		m.sweeps.WithLabelValues(result)
	}
	pending := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "skerry_dlq_pending_entries", Help: "Dead letters that the last sweep of each group that the node leads has left.",
	}, func() float64 { return float64(r.pending()) })
	oldest := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "skerry_dlq_oldest_entry_age_seconds", Help: "Age of the oldest dead letter of the groups that the node leads; 0 without any.",
	}, func() float64 { return r.oldestAge().Seconds() })
	m.collectors = []prometheus.Collector{m.attempts, m.sweeps, m.lists, m.duration, m.inProgress, m.footers, m.deletesFailed, pending, oldest}
	return m
}

func (m *metrics) register(registerer prometheus.Registerer) error {
	m.registerer = registerer
	var errs []error
	for _, c := range m.collectors {
		errs = append(errs, registerer.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) unregister() {
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

// pending counts the entries that are left.
func (r *Recovery) pending() uint64 {
	var n uint64
	for _, l := range r.all() {
		last, _, _, _ := l.state()
		n += last.Pending
	}
	return n
}

// oldestAge is the age of the oldest entry.
func (r *Recovery) oldestAge() time.Duration {
	var age time.Duration
	for _, l := range r.all() {
		if _, _, oldest, _ := l.state(); !oldest.IsZero() {
			age = max(age, r.options.Now().Sub(oldest))
		}
	}
	return age
}
