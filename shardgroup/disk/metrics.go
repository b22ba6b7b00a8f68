package disk

import "github.com/prometheus/client_golang/prometheus"

// metrics belong to one watchdog.
type metrics struct {
	probes                    *prometheus.HistogramVec
	state, level, free, total *prometheus.GaugeVec
	failures                  *prometheus.CounterVec
}

func newMetrics() *metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "skerry_disk_" + name, Help: help}, []string{"directory"})
	}
	return &metrics{
		probes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_disk_probe_duration_seconds", Help: "Time of probes that ended: a small write and its sync.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"directory"}),
		state: gauge("state", "Whether the disk takes writes: 0 healthy, 1 slow, 2 stalled, 3 failed."),
		level: gauge("level", "Free space: 0 normal, 1 low, 2 full."),
		free:  gauge("free_bytes", "Bytes that may still be written."),
		total: gauge("total_bytes", "Size of the disk."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_disk_failures_total", Help: "Probes, and looks at the free space, that ended with an error.",
		}, []string{"directory", "what"}),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.probes, m.state, m.level, m.free, m.total, m.failures}
}

// register registers all or nothing.
func (m *metrics) register(registerer prometheus.Registerer) error {
	for i, collector := range m.collectors() {
		if err := registerer.Register(collector); err != nil {
			for _, registered := range m.collectors()[:i] {
				registerer.Unregister(registered)
			}
			return err
		}
	}
	return nil
}

func (m *metrics) unregister(registerer prometheus.Registerer) {
	for _, collector := range m.collectors() {
		registerer.Unregister(collector)
	}
}

// show publishes a status.
func (m *metrics) show(directory string, status Status) {
	m.state.WithLabelValues(directory).Set(float64(status.State))
	m.level.WithLabelValues(directory).Set(float64(status.Level))
	if status.TotalBytes > 0 {
		m.free.WithLabelValues(directory).Set(float64(status.FreeBytes))
		m.total.WithLabelValues(directory).Set(float64(status.TotalBytes))
	}
}
