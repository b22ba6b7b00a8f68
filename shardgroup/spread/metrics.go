package spread

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Series of datasets, or of their shards, that are exported at most: who has more
// looks into the objects.
const maxSeries = 20_000

// Metrics are a node's, whether it is the manager or not. What begins with
// pyroscope_ is what Pyroscope's dashboards query.
type Metrics struct {
	updates, pulls, writes, dropped *prometheus.CounterVec

	counters    atomic.Pointer[Counters]
	manager     atomic.Pointer[Manager]
	gauges      map[string]*prometheus.Desc
	limit       *prometheus.Desc
	usage       *prometheus.Desc
	shardUsage  *prometheus.Desc
	nodeCounter *prometheus.Desc
}

// Gauges of the manager.
const (
	gaugeUpdated = "pyroscope_adaptive_placement_rules_last_update_time"
	gaugeRules   = "pyroscope_adaptive_placement_rules"
	gaugeStats   = "pyroscope_adaptive_placement_stats"
	gaugeRates   = "skerry_adaptive_placement_rates"
	gaugeSkewed  = "skerry_adaptive_placement_skewed_datasets"
	gaugeWritten = "skerry_adaptive_placement_last_write_timestamp_seconds"
)

// NewMetrics returns metrics that are not registered yet.
func NewMetrics() *Metrics {
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "skerry_adaptive_placement_" + name + "_total", Help: help}, labels)
	}
	dataset := []string{"tenant", "dataset"}
	m := &Metrics{
		updates: vector("updates", "Updates of the placement rules: made and written (ok), so, but without what some nodes counted (partial), made and not yet to be written (waits), not written since nothing is added here (idle), failed, or ended with the manager's tenure (superseded).", "result"),
		pulls:   vector("pulls", "Nodes asked for what they counted.", "result"),
		writes:  vector("writes", "Objects written.", "object", "result"),
		dropped: vector("dropped", "What was left out: segments that are minutes old when they come (old); since there are too many, samples without a counter on this node (counter) or a rate of the manager (rate), and datasets without a rule (rule).", "what"),
		limit: prometheus.NewDesc("pyroscope_adaptive_placement_dataset_shard_limit",
			"Shards that a dataset is to be spread over.", append(dataset, "load_balancing"), nil),
		usage: prometheus.NewDesc("pyroscope_adaptive_placement_dataset_shard_usage_bytes_per_second",
			"Bytes per second that are added of a dataset.", dataset, nil),
		shardUsage: prometheus.NewDesc("pyroscope_adaptive_placement_dataset_shard_usage_per_shard_bytes_per_second",
			"Bytes per second that are added of a dataset in one shard.", append(dataset, "shard_id", "shard_owner"), nil),
		nodeCounter: prometheus.NewDesc("skerry_adaptive_placement_counters", "Counters of added bytes on this node.", nil, nil),
		gauges:      map[string]*prometheus.Desc{},
	}
	for name, help := range map[string]string{
		gaugeUpdated: "When placement rules were last made, Unix seconds. Of the manager only.",
		gaugeRules:   "Placement rules. Of the manager only.",
		gaugeStats:   "Datasets in the placement statistics. Of the manager only.",
		gaugeRates:   "Rates that the manager follows.",
		gaugeSkewed:  "Datasets whose shards are loaded so unevenly that round-robin is better for them, going by the true deviation. Of the manager only.",
		gaugeWritten: "When the manager last wrote both objects, Unix seconds; 0 for never.",
	} {
		m.gauges[name] = prometheus.NewDesc(name, help, nil, nil)
	}
	return m
}

// Collectors returns what is to be registered.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.updates, m.pulls, m.writes, m.dropped, state{m}}
}

// Watch shows the number of a node's counters.
func (m *Metrics) Watch(counters *Counters) { m.counters.Store(counters) }

func (m *Metrics) show(manager *Manager) { m.manager.Store(manager) }
func (m *Metrics) hide(manager *Manager) { m.manager.CompareAndSwap(manager, nil) }

// state collects what is there now: nothing that a manager of before left.
type state struct{ *Metrics }

func (s state) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range s.gauges {
		descs <- desc
	}
	for _, desc := range []*prometheus.Desc{s.limit, s.usage, s.shardUsage, s.nodeCounter} {
		descs <- desc
	}
}

func (s state) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		// Names that are no labels are left out.
		if metric, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, value, labels...); err == nil {
			metrics <- metric
		}
	}
	if counters := s.counters.Load(); counters != nil {
		gauge(s.nodeCounter, float64(counters.Len()))
	}
	m := s.manager.Load()
	if m == nil {
		return
	}
	m.mu.Lock()
	p, wrote := m.published, m.wrote
	m.mu.Unlock()
	gauge(s.gauges[gaugeWritten], float64(wrote)/1e9)
	if p == nil {
		return
	}
	gauge(s.gauges[gaugeUpdated], float64(p.created)/1e9)
	gauge(s.gauges[gaugeRules], float64(len(p.rules.GetDatasets())))
	gauge(s.gauges[gaugeStats], float64(len(p.stats.GetDatasets())))
	gauge(s.gauges[gaugeRates], float64(p.rates))
	gauge(s.gauges[gaugeSkewed], float64(p.skewed()))
	s.datasets(m.options, p, gauge)
}

// datasets shows each dataset, as far as that is wanted and bounds go.
func (s state) datasets(options Options, p *published, gauge func(*prometheus.Desc, float64, ...string)) {
	limits, usages, shards := 0, 0, 0
	for _, r := range p.sorted() {
		if options.ExportLimits && limits < maxSeries {
			limits++
			gauge(s.limit, float64(r.rule.GetDatasetShardLimit()), r.tenant, r.name, strconv.Itoa(int(r.rule.GetLoadBalancing())))
		}
		if r.stats < 0 || !options.ExportUsage && !options.ExportBreakdown {
			continue
		}
		var sum float64
		for _, shard := range p.placed(r).GetShards() {
			sum += float64(shard.GetUsage())
			if options.ExportBreakdown && shards < maxSeries {
				shards++
				gauge(s.shardUsage, float64(shard.GetUsage()), r.tenant, r.name, strconv.Itoa(int(shard.GetId())), shard.GetOwner())
			}
		}
		if options.ExportUsage && usages < maxSeries {
			usages++
			gauge(s.usage, sum, r.tenant, r.name)
		}
	}
}
