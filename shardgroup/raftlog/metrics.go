package raftlog

import (
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector
	syncs      prometheus.Histogram
	bytes      prometheus.Counter
	avoided    prometheus.Counter
	stalls     prometheus.Counter

	mu sync.Mutex
	db *pebble.DB // nil unless it is open
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		registerer: registerer,
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "skerry_raft_log_sync_duration_seconds", Help: "Time to make durable what the node's groups wrote to their Raft logs, at once.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_raft_log_written_bytes_total", Help: "Bytes written to the Raft log, before compactions.",
		}),
		avoided: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_raft_log_syncs_avoided_total", Help: "Saves that had nothing to make durable: commit indexes only.",
		}),
		stalls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_raft_log_stalls_total", Help: "Saves that had to wait until the Raft log had written out or compacted older ones.",
		}),
	}
	m.all = []prometheus.Collector{m.syncs, m.bytes, m.avoided, m.stalls, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "skerry_raft_log_disk_usage_bytes", Help: "Space that the Raft log takes on the disk.",
	}, m.diskUsage)}
	return m
}

// register begins to tell of a store.
func (m *metrics) register(db *pebble.DB) error {
	m.db = db
	for i, c := range m.all {
		if err := m.registerer.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return errors.Join(errors.New("metrics of the Raft log"), err)
		}
	}
	return nil
}

// unregister ends it, before the store is closed.
func (m *metrics) unregister() {
	m.mu.Lock()
	m.db = nil
	m.mu.Unlock()
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) diskUsage() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db == nil {
		return 0
	}
	return float64(m.db.Metrics().DiskSpaceUsage())
}

func (m *metrics) synced(d time.Duration, bytes int) {
	m.syncs.Observe(d.Seconds())
	m.bytes.Add(float64(bytes))
}
