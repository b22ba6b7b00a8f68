package transport

import "github.com/prometheus/client_golang/prometheus"

// metrics belong to one transport.
type metrics struct {
	sentBytes, receivedBytes   *prometheus.CounterVec
	sentFrames, receivedFrames *prometheus.CounterVec
	connections                *prometheus.GaugeVec
	failedDials                prometheus.Counter
	refused                    *prometheus.CounterVec
	badFrames                  prometheus.Counter
	repeats                    prometheus.Counter
	reconnects                 prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "skerry_raft_transport_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		sentBytes:      counter("sent_bytes_total", "Bytes of frames sent to other nodes, before TLS.", "kind"),
		receivedBytes:  counter("received_bytes_total", "Bytes of frames received from other nodes, after TLS.", "kind"),
		sentFrames:     counter("sent_frames_total", "Batches of messages and chunks of snapshots sent to other nodes.", "kind"),
		receivedFrames: counter("received_frames_total", "Batches of messages and chunks of snapshots received from other nodes.", "kind"),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "skerry_raft_transport_connections", Help: "Open connections with other nodes, those in their handshake included.",
		}, []string{"direction"}),
		failedDials: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_raft_transport_failed_dials_total", Help: "Connections to other nodes that were not established.",
		}),
		refused: counter("refused_connections_total",
			"Incoming connections refused: too many (limit), TLS failed (tls), not of this cluster (cluster), another version (version), not a peer or no hello in time (hello).", "reason"),
		badFrames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_raft_transport_bad_frames_total", Help: "Incoming connections closed because of a frame that was damaged, too large or unexpected.",
		}),
		repeats: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_raft_transport_repeats_dropped_total", Help: "Large messages not sent because the same replica was sent the same a moment ago.",
		}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_raft_transport_reconnects_total", Help: "Connections that had ended and were made again to send a message.",
		}),
	}
	// All series are there from the start: a rate needs a first value.
	for _, k := range []kind{messageKind, snapshotKind} {
		for _, vec := range []*prometheus.CounterVec{m.sentBytes, m.receivedBytes, m.sentFrames, m.receivedFrames} {
			vec.WithLabelValues(k.String())
		}
	}
	for _, direction := range []string{incoming, outgoing} {
		m.connections.WithLabelValues(direction)
	}
	for _, reason := range []string{refusedLimit, refusedTLS, refusedCluster, refusedVersion, refusedHello} {
		m.refused.WithLabelValues(reason)
	}
	return m
}

const (
	incoming = "in"
	outgoing = "out"

	refusedLimit   = "limit"
	refusedTLS     = "tls"
	refusedCluster = "cluster"
	refusedVersion = "version"
	refusedHello   = "hello"
)

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.sentBytes, m.receivedBytes, m.sentFrames, m.receivedFrames, m.connections, m.failedDials, m.refused, m.badFrames, m.repeats, m.reconnects,
	}
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

func (m *metrics) sent(k kind, bytes int) {
	m.sentFrames.WithLabelValues(k.String()).Inc()
	m.sentBytes.WithLabelValues(k.String()).Add(float64(bytes))
}

func (m *metrics) received(k kind, bytes int) {
	m.receivedFrames.WithLabelValues(k.String()).Inc()
	m.receivedBytes.WithLabelValues(k.String()).Add(float64(bytes))
}
