package shardgroup

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/planner"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup/delivery"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/outbox"
)

// transferMetrics count what a node's couriers do. What waits is told at scrape
// time, by groupState.
type transferMetrics struct {
	delivered, acked prometheus.Counter
	failed           *prometheus.CounterVec
	batches          prometheus.Histogram
	durations        prometheus.Histogram
	ages             prometheus.Histogram
}

func newTransferMetrics() *transferMetrics {
	return &transferMetrics{
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_transfers_delivered_total", Help: "Transfers that their tenants' groups accepted, some of them again.",
		}),
		acked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_transfers_acked_total", Help: "Acks of transfers of a stream and tenant that were applied; one stands for all transfers before it.",
		}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_transfers_failed_total",
			Help: "Attempts to deliver that failed: the destination did not answer (unreachable), has split or moved (route), takes the transfers for invalid (invalid) or lacks those before (refused); an ack failed (ack); the outboxes cannot be read (plan).",
		}, []string{"reason"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "skerry_transfers_batch_size", Help: "Transfers handed over at once.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		ages: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "skerry_transfers_age_seconds", Help: "Age of transfers when their tenants' groups had accepted them, since the completion of their jobs.",
			Buckets: prometheus.ExponentialBuckets(0.002, 1.5, 30),
		}),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "skerry_transfers_duration_seconds", Help: "Time to hand over a batch of transfers.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
	}
}

func (m *transferMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.delivered, m.acked, m.failed, m.batches, m.durations, m.ages}
}

func (m *transferMetrics) sent(transfers int, took time.Duration) {
	m.batches.Observe(float64(transfers))
	m.durations.Observe(took.Seconds())
}

// aged observes the ages of the transfers of a batch that were accepted.
func (m *transferMetrics) aged(batch *delivery.Batch, outcomes []*raftlogv1.AcceptOutcome, now time.Time) {
	for i, transfer := range batch.Transfers {
		if i < len(outcomes) && delivery.Accepted(transfer, outcomes[i]) {
			m.ages.Observe(max(0, time.Duration(now.UnixNano()-batch.MadeAt[i]).Seconds()))
		}
	}
}

// outboxState tells what waits in a group's outboxes.
func outboxState(v statemachine.View, now planner.Time, group string, metrics chan<- prometheus.Metric) error {
	var waiting, full uint64
	age := 0.0
	for stream, err := range v.Outbox.Streams() {
		if err != nil {
			return err
		}
		waiting += stream.Transfers
		if stream.Full() {
			full++
		}
		if stream.Transfers == 0 {
			continue
		}
		made, err := oldestTransfer(v, stream.Shard)
		if err != nil {
			return err
		}
		age = max(age, now.Sub(made).Seconds())
	}
	gauge := func(desc *prometheus.Desc, value float64) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, group)
	}
	gauge(transfersDesc, float64(waiting))
	gauge(transfersAgeDesc, age)
	gauge(outboxesFullDesc, float64(full))
	return nil
}

// oldestTransfer returns when the transfer of a stream was made that waits longest.
func oldestTransfer(v statemachine.View, stream uint32) (planner.Time, error) {
	for at, err := range v.Outbox.Of(outbox.Position{Stream: stream}) {
		if err != nil {
			return 0, err
		}
		transfer, err := v.Outbox.Get(at)
		return planner.Time(transfer.GetMadeAt()), err
	}
	return 0, nil
}
