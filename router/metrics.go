package router

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// metrics are one router's.
type metrics struct {
	attempts   *prometheus.CounterVec
	spent      *prometheus.CounterVec
	refreshes  *prometheus.CounterVec
	hints      prometheus.Counter
	panics     prometheus.Counter
	mapVersion prometheus.Gauge
	watched    prometheus.Gauge
	watchEnds  *prometheus.CounterVec
	// Public requests, by route, that no interceptor sees.
	undecodable *prometheus.CounterVec

	hedges   *prometheus.CounterVec
	suspects prometheus.Gauge

	// Polls of compaction workers.
	polls, updates, offers, jobs, unreachable *prometheus.CounterVec

	// What queries cost, by call; cost in the order of nodev1.CostItems.
	cost     []*prometheus.CounterVec
	reroutes *prometheus.CounterVec
	groups   *prometheus.HistogramVec
	tested   *prometheus.HistogramVec

	// Reads after the first that consistency takes.
	rounds    *prometheus.CounterVec
	exhausted *prometheus.CounterVec
	rereads   *prometheus.HistogramVec
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
		watched: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_router_map_watched",
			Help: "1 while changes of the range map are followed on a node, else 0.",
		}),
		watchEnds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_map_watch_ends_total",
			Help: "Ends of a watch of the range map, by reason; another node is watched then.",
		}, []string{"reason"}),
		undecodable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_undecodable_requests_total",
			Help: "Requests refused because they could not be decoded, or only into too much memory.",
		}, []string{"route"}),
		hedges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_hedges_total",
			Help: "Slow calls for which another replica was asked, too: won, it answered first; lost; or refused, there were too many.",
		}, []string{"call", "outcome"}),
		suspects: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_router_suspect_nodes",
			Help: "Nodes that are left alone because they do not answer.",
		}),
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_polls_total",
			Help: "Polls of compaction workers: ok; degraded, some groups with jobs in progress did not answer; unanswered, results were not taken and the worker repeats; and others.",
		}, []string{"outcome"}),
		updates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_poll_updates_total",
			Help: "Reports of compaction workers: routed to their groups; unknown, the name cannot be a job's; bad, the result cannot be read.",
		}, []string{"outcome"}),
		offers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_poll_offers_total",
			Help: "Offers of workers' slots to groups: taken, by jobs or for new ones; empty, nothing was due; failed.",
		}, []string{"outcome"}),
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_poll_jobs_total",
			Help: "Compaction jobs handed to workers, by level of their sources.",
		}, []string{"level"}),
		unreachable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_poll_unreachable_groups_total",
			Help: "Groups that did not answer a poll, by what they were asked for: report, probe or offer.",
		}, []string{"phase"}),
		reroutes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_query_reroutes_total",
			Help: "Parts of queries that a group sent elsewhere.",
		}, []string{"call"}),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_transfer_rounds_total",
			Help: "Rounds in which queries read once more: tenants_behind or streams_behind, a transfer happened between the reads of its two sides; strict, all, to get one snapshot.",
		}, []string{"reason"}),
		exhausted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_transfer_exhausted_total",
			Help: "Queries that failed because too many rounds of reads did not fit together, by what kept them from it: transfers, or, for one snapshot, any change (strict).",
		}, []string{"call", "reason"}),
		rereads: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_router_transfer_rereads", Help: "Rounds of reads after the first that one query took.",
			Buckets: []float64{0, 1, 2, 3, 5, 10},
		}, []string{"call"}),
		groups: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_router_query_groups", Help: "Groups that one query asked.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}, []string{"call"}),
		tested: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_router_query_tested_blocks", Help: "Blocks that one query tested.",
			Buckets: prometheus.ExponentialBuckets(1, 8, 9),
		}, []string{"call"}),
	}
	all := []prometheus.Collector{m.attempts, m.spent, m.refreshes, m.hints, m.panics, m.mapVersion, m.watched, m.watchEnds, m.hedges, m.suspects, m.undecodable, m.reroutes, m.groups, m.tested, m.rounds, m.exhausted, m.rereads,
		m.polls, m.updates, m.offers, m.jobs, m.unreachable}
	for _, item := range nodev1.CostItems() {
		counter := prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_router_query_" + item.Name + "_total", Help: "Cost of queries. " + item.Help,
		}, []string{"call"})
		m.cost, all = append(m.cost, counter), append(all, counter)
	}
	return m, register(registerer, all...)
}

// queried counts what a query cost.
func (m *metrics) queried(call string, e *adminv1.QueryExplanation) {
	for i, item := range nodev1.CostItems() {
		m.cost[i].WithLabelValues(call).Add(float64(*item.Of(e.GetCost())))
	}
	m.reroutes.WithLabelValues(call).Add(float64(e.GetReroutes()))
	m.groups.WithLabelValues(call).Observe(float64(e.GetGroupsAsked()))
	m.tested.WithLabelValues(call).Observe(float64(e.GetCost().GetBlocksTested()))
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
