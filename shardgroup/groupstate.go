package shardgroup

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/planner"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/jobs"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// groupState tells, when it is scraped, what waits in the groups that the node
// leads: so a group is told of by one node, and by none that led it before. It
// costs some reads of totals for each group.
type groupState struct{ node *Node }

var (
	queueJobsDesc = prometheus.NewDesc("pyroscope_metastore_compaction_scheduler_queue_jobs",
		"Compaction jobs of the groups that the node leads, by level of their sources and status.", []string{"level", "status"}, nil)
	queueBlocksDesc = prometheus.NewDesc("pyroscope_metastore_compaction_global_queue_blocks_current",
		"Blocks that wait for compaction in the groups that the node leads.", []string{"level"}, nil)
	returnedDesc = prometheus.NewDesc("skerry_compaction_returned_blocks",
		"Blocks that failed jobs gave back and that wait to be tried again.", []string{"level"}, nil)
	lagDesc = prometheus.NewDesc("skerry_compaction_lag_seconds",
		"Age of the block that waits longest in a group's compaction queue.", []string{"group", "level"}, nil)
	tombstonesDesc = prometheus.NewDesc("skerry_tombstones",
		"Tombstones of the groups that the node leads: those that wait, and those that a job carries.", []string{"state"}, nil)
	pausedDesc = prometheus.NewDesc("skerry_compaction_paused",
		"1 if an operator paused the group's compaction.", []string{"group"}, nil)
	transfersDesc = prometheus.NewDesc("skerry_transfers_waiting",
		"Transfers that wait in the outboxes of a group's streams.", []string{"group"}, nil)
	transfersAgeDesc = prometheus.NewDesc("skerry_transfers_oldest_seconds",
		"Age of the transfer that waits longest in the outboxes of a group's streams.", []string{"group"}, nil)
	outboxesFullDesc = prometheus.NewDesc("skerry_transfers_full_outboxes",
		"Streams of a group whose segments are not compacted since their outbox is full.", []string{"group"}, nil)
)

// Describe implements prometheus.Collector.
func (c groupState) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{queueJobsDesc, queueBlocksDesc, returnedDesc, lagDesc, tombstonesDesc, pausedDesc, transfersDesc, transfersAgeDesc, outboxesFullDesc} {
		descs <- desc
	}
}

// jobStatuses are Pyroscope's words.
var jobStatuses = []string{"unassigned", "assigned", "reassigned", "failed"}

// status words the state of jobs; failed ones are not given to workers any more.
func (c groupState) status(total jobs.Total) string {
	most := c.node.options.Compaction.FailuresMax
	switch {
	case most > 0 && total.Failures >= most:
		return "failed"
	case !total.InProgress:
		return "unassigned"
	case total.Failures > 0:
		return "reassigned"
	}
	return "assigned"
}

// ledState is what all groups that the node leads have together.
type ledState struct {
	jobs             map[string]*[queue.Levels]uint64 // by status
	queued, returned [queue.Levels]uint64
	held, waiting    uint64
}

// Collect implements prometheus.Collector.
func (c groupState) Collect(metrics chan<- prometheus.Metric) {
	sum := ledState{jobs: map[string]*[queue.Levels]uint64{}}
	for _, status := range jobStatuses {
		sum.jobs[status] = &[queue.Levels]uint64{}
	}
	for _, id := range c.node.dataGroups() {
		if g := c.node.group(id); g != nil && g.leader.epoch.Load() > 0 {
			// A group that cannot be read is stopping: its next leader tells of it.
			_ = g.inspect(func(v statemachine.View) error { return c.add(&sum, g, v, metrics) })
		}
	}
	gauge := func(desc *prometheus.Desc, value uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for level := range uint32(queue.Levels) {
		label := levelLabel(level)
		for _, status := range jobStatuses {
			gauge(queueJobsDesc, sum.jobs[status][level], label, status)
		}
		gauge(queueBlocksDesc, sum.queued[level], label)
		gauge(returnedDesc, sum.returned[level], label)
	}
	gauge(tombstonesDesc, sum.waiting, "waiting")
	gauge(tombstonesDesc, sum.held-sum.waiting, "carried")
}

func (c groupState) add(sum *ledState, g *Group, v statemachine.View, metrics chan<- prometheus.Metric) error {
	totals, err := v.Jobs.Totals()
	if err != nil {
		return err
	}
	levels, err := backlog(v, groupTime(v, c.node.options.Now), c.node.options.Compaction.Compaction)
	if err != nil {
		return err
	}
	for _, total := range totals {
		if total.Level < queue.Levels {
			sum.jobs[c.status(total)][total.Level] += total.Jobs
		}
	}
	held, waiting := v.Tombstones.Totals()
	sum.held, sum.waiting = sum.held+held, sum.waiting+waiting
	label, now := strconv.FormatUint(g.id, 10), groupTime(v, c.node.options.Now)
	var oldest [queue.Levels]*nodev1.LevelBacklog
	for _, level := range levels {
		sum.queued[level.GetLevel()] += level.GetBlocksQueued()
		sum.returned[level.GetLevel()] += level.GetBlocksReturned()
		oldest[level.GetLevel()] = level
	}
	for level, found := range oldest {
		lag := 0.0
		if found.GetBlocksQueued() > 0 {
			lag = max(0, now.Sub(planner.Time(found.GetOldest())).Seconds())
		}
		metrics <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, lag, label, levelLabel(uint32(level)))
	}
	paused := 0.0
	if v.Paused {
		paused = 1
	}
	metrics <- prometheus.MustNewConstMetric(pausedDesc, prometheus.GaugeValue, paused, label)
	return outboxState(v, now, label, metrics)
}
