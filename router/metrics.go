package router

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are one router's.
type metrics struct {
	attempts   *prometheus.CounterVec
	spent      *prometheus.CounterVec
	refreshes  *prometheus.CounterVec
	hints      prometheus.Counter
	panics     prometheus.Counter
	mapVersion prometheus.Gauge
	// Public requests, by route, that no interceptor sees.
	undecodable *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_attempts_total",
			Help: "Calls to nodes, by how they ended.",
		}, []string{"call", "outcome"}),
		spent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_gave_up_total",
			Help: "Requests that failed because their retry budget was spent.",
		}, []string{"call"}),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_map_refreshes_total",
			Help: "Reads of the range map from a node.",
		}, []string{"result"}),
		hints: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_router_map_hints_total",
			Help: "Corrections of the range map by groups.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_router_panics_total",
			Help: "Panics outside of request handlers that were turned into errors.",
		}),
		mapVersion: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_router_map_version",
			Help: "Version of the range map in use.",
		}),
		undecodable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_undecodable_requests_total",
			Help: "Requests refused because they could not be decoded, or only into too much memory.",
		}, []string{"route"}),
	}
	return m, register(registerer, m.attempts, m.spent, m.refreshes, m.hints, m.panics, m.mapVersion, m.undecodable)
}

// register does nothing without a registerer.
func register(registerer prometheus.Registerer, collectors ...prometheus.Collector) error {
	if registerer == nil {
		return nil
	}
	var faults []error
	for _, c := range collectors {
		faults = append(faults, registerer.Register(c))
	}
	return errors.Join(faults...)
}
