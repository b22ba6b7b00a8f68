package shardgroup

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup/spread"
)

// metrics are a node's. Names with the prefix pyroscope_metastore_ are those
// that Pyroscope's dashboards query; per-group detail has names of its own.
type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector

	raftState     *prometheus.GaugeVec
	applyCommand  prometheus.Histogram
	readIndexWait prometheus.Histogram
	fsmApply      prometheus.Histogram
	fsmEntries    prometheus.Histogram

	batchCommands *prometheus.HistogramVec
	waiting       *prometheus.GaugeVec
	refused       *prometheus.CounterVec
	appliedBytes  *prometheus.CounterVec
	groupLeading  *prometheus.GaugeVec

	// In the order of nodev1.CostItems.
	queryCost   []*prometheus.CounterVec
	lookupTimes *prometheus.HistogramVec
	readRounds  *prometheus.CounterVec
	groupReads  *prometheus.CounterVec
	// Of the node, whatever the group.
	readsInProgress prometheus.Gauge
	readsRefused    *prometheus.CounterVec

	mapVersion prometheus.Gauge
	heartbeats *prometheus.CounterVec
	actions    *prometheus.CounterVec

	compaction *compactionMetrics
	transfers  *transferMetrics
	proposals  *proposalMetrics
	spread     *spread.Metrics

	leaderMu  sync.Mutex
	ledGroups int
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	latency := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help,
			Buckets:                     prometheus.ExponentialBuckets(0.0005, 2, 15),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 50, NativeHistogramMinResetDuration: time.Hour,
		})
	}
	m := &metrics{
		registerer: registerer,
		raftState: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "pyroscope_metastore_raft_state",
			Help: "1 for Leader if the node leads any group, for Follower otherwise. One series per process.",
		}, []string{"state"}),
		applyCommand:  latency("pyroscope_metastore_raft_apply_command_duration_seconds", "Time from proposing an entry until it is applied."),
		readIndexWait: latency("pyroscope_metastore_raft_read_index_wait_duration_seconds", "Time that a linearizable read waits for its read index round."),
		fsmApply:      latency("pyroscope_metastore_fsm_apply_command_duration_seconds", "Time to apply the entries of one call of the state machine."),
		fsmEntries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "skerry_group_update_entries", Help: "Raft entries applied in one storage transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		batchCommands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_group_entry_commands", Help: "Commands coalesced into one Raft entry.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}, []string{"group"}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "skerry_group_waiting_commands", Help: "Commands that wait for an entry in flight.",
		}, []string{"group"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_group_refused_commands_total", Help: "Commands refused because the group's queue was full.",
		}, []string{"group"}),
		appliedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_group_applied_bytes_total", Help: "Bytes of the Raft entries that the node's replica applied.",
		}, []string{"group"}),
		groupLeading: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "skerry_group_leader", Help: "1 if the node's replica leads the group.",
		}, []string{"group"}),
		lookupTimes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_group_query_duration_seconds", Help: "Time of reads of the state machine, without waiting.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"group"}),
		readRounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_group_read_rounds_total", Help: "Read index rounds: confirmations of the leader that reads share.",
		}, []string{"group"}),
		readsInProgress: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_node_reads_in_progress", Help: "Reads of data in progress, those that wait included.",
		}),
		readsRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_node_refused_reads_total",
			Help: "Reads of data refused: too many in progress (queue), their answers too large together (bytes), one too slow (time).",
		}, []string{"limit"}),
		groupReads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_group_reads_total", Help: "Linearizable reads that waited for a read index round.",
		}, []string{"group"}),
	}
	m.mapVersion = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "skerry_node_map_version", Help: "Version of the node's copy of the map.",
	})
	m.heartbeats = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "skerry_node_heartbeats_total", Help: "Reports to the directory's leader: taken (ok), or not (failed).",
	}, []string{"result"})
	m.actions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "skerry_controller_steps_total", Help: "Steps that the directory's leader took to bring the cluster to what is wanted.",
	}, []string{"kind", "result"})
	m.collectors = []prometheus.Collector{
		m.mapVersion, m.heartbeats, m.actions,
		m.raftState, m.applyCommand, m.readIndexWait, m.fsmApply, m.fsmEntries, m.batchCommands, m.waiting, m.refused, m.groupLeading, m.appliedBytes,
		m.lookupTimes, m.readRounds, m.groupReads, m.readsInProgress, m.readsRefused,
	}
	m.compaction = newCompactionMetrics()
	m.transfers = newTransferMetrics()
	m.collectors = append(m.collectors, m.compaction.collectors()...)
	m.collectors = append(m.collectors, m.transfers.collectors()...)
	m.spread = spread.NewMetrics()
	m.collectors = append(m.collectors, m.spread.Collectors()...)
	m.proposals = newProposalMetrics()
	m.collectors = append(m.collectors, m.proposals.collectors()...)
	for _, item := range nodev1.CostItems() {
		counter := prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_group_query_" + item.Name + "_total", Help: "Cost of queries. " + item.Help,
		}, []string{"group"})
		m.queryCost, m.collectors = append(m.queryCost, counter), append(m.collectors, counter)
	}
	registerer.MustRegister(m.collectors...)
	m.leads(false)
	return m
}

func (m *metrics) unregister() {
	for _, collector := range m.collectors {
		m.registerer.Unregister(collector)
	}
}

// dropGroup ends the series of a replica that is gone.
func (m *metrics) dropGroup(id uint64) {
	label := prometheus.Labels{"group": strconv.FormatUint(id, 10)}
	for _, collector := range m.collectors {
		if family, ok := collector.(interface{ DeletePartialMatch(prometheus.Labels) int }); ok {
			family.DeletePartialMatch(label)
		}
	}
}

// leads publishes exactly one series: dashboards join others on it by process.
func (m *metrics) leads(any bool) {
	state, other := "Follower", "Leader"
	if any {
		state, other = other, state
	}
	m.raftState.DeleteLabelValues(other)
	m.raftState.WithLabelValues(state).Set(1)
}

func (m *metrics) group(id uint64) *groupMetrics {
	label := strconv.FormatUint(id, 10)
	g := &groupMetrics{
		metrics: m, commands: m.batchCommands.WithLabelValues(label), leader: m.groupLeading.WithLabelValues(label),
		queued: m.waiting.WithLabelValues(label), overloads: m.refused.WithLabelValues(label),
		lookups: m.lookupTimes.WithLabelValues(label), rounds: m.readRounds.WithLabelValues(label), reads: m.groupReads.WithLabelValues(label),
	}
	g.bytes = m.appliedBytes.WithLabelValues(label)
	for _, counter := range m.queryCost {
		g.cost = append(g.cost, counter.WithLabelValues(label))
	}
	return g
}

// groupMetrics are the node's metrics with the label of one group.
type groupMetrics struct {
	*metrics
	commands  prometheus.Observer
	queued    prometheus.Gauge
	overloads prometheus.Counter
	bytes     prometheus.Counter
	leader    prometheus.Gauge
	lookups   prometheus.Observer
	rounds    prometheus.Counter
	reads     prometheus.Counter
	cost      []prometheus.Counter
	led       bool // under leaderMu
}

func (g *groupMetrics) applied(elapsed time.Duration) { g.applyCommand.Observe(elapsed.Seconds()) }
func (g *groupMetrics) lookup(elapsed time.Duration)  { g.lookups.Observe(elapsed.Seconds()) }

func (g *groupMetrics) waited(elapsed time.Duration) { g.readIndexWait.Observe(elapsed.Seconds()) }

// round counts a read index round and the reads that share it.
func (g *groupMetrics) round(reads int) {
	g.rounds.Inc()
	g.reads.Add(float64(reads))
}

// queried counts what a query cost.
func (g *groupMetrics) queried(cost *nodev1.QueryCost) {
	if cost == nil {
		return
	}
	for i, item := range nodev1.CostItems() {
		g.cost[i].Add(float64(*item.Of(cost)))
	}
}

func (g *groupMetrics) leading(yes bool) {
	g.leaderMu.Lock()
	defer g.leaderMu.Unlock()
	if yes == g.led {
		return
	}
	g.led = yes
	if yes {
		g.ledGroups++
		g.leader.Set(1)
	} else {
		g.ledGroups--
		g.leader.Set(0)
	}
	g.leads(g.ledGroups > 0)
}
