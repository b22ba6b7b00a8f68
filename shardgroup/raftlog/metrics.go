package raftlog

import (
	"errors"
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
}

func newMetrics(registerer prometheus.Registerer, db *pebble.DB) (*metrics, error) {
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
	}
	m.all = []prometheus.Collector{m.syncs, m.bytes, m.avoided, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "skerry_raft_log_disk_usage_bytes", Help: "Space that the Raft log takes on the disk.",
	}, func() float64 { return float64(db.Metrics().DiskSpaceUsage()) })}
	for i, c := range m.all {
		if err := registerer.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, errors.Join(errors.New("metrics of the Raft log"), err)
		}
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) synced(d time.Duration, bytes int) {
	m.syncs.Observe(d.Seconds())
	m.bytes.Add(float64(bytes))
}
