package shardgroup

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// proposalMetrics tell what a node's Raft entries consist of.
type proposalMetrics struct {
	commands, bytes, entries *prometheus.CounterVec
	// Of each kind, found without a look-up of labels.
	kinds map[raftlogv1.Kind]proposedKind
}

type proposedKind struct{ commands, bytes, entries prometheus.Counter }

func newProposalMetrics() *proposalMetrics {
	counter := func(what, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "skerry_proposed_" + what + "_total", Help: help}, []string{"kind"})
	}
	m := &proposalMetrics{
		commands: counter("commands", "Commands that the node proposed, by kind; those tried again count again."),
		bytes:    counter("bytes", "Bytes of the commands that the node proposed, by kind."),
		entries:  counter("entries", "Raft entries that the node proposed, by kind of command; commands that share an entry have a part of it each."),
		kinds:    map[raftlogv1.Kind]proposedKind{},
	}
	for number, name := range raftlogv1.Kind_name {
		label := strings.ToLower(strings.TrimPrefix(name, "KIND_"))
		m.kinds[raftlogv1.Kind(number)] = proposedKind{
			m.commands.WithLabelValues(label), m.bytes.WithLabelValues(label), m.entries.WithLabelValues(label),
		}
	}
	return m
}

func (m *proposalMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.commands, m.bytes, m.entries}
}

// batch counts the commands of one entry.
func (g *groupMetrics) batch(batch []*proposal) {
	g.commands.Observe(float64(len(batch)))
	for _, p := range batch {
		// Kinds that nobody knows are nobody's; an entry of them is refused.
		kind, known := g.proposals.kinds[p.command.GetKind()]
		if !known {
			continue
		}
		kind.commands.Inc()
		kind.bytes.Add(float64(p.size))
		kind.entries.Add(1 / float64(len(batch)))
	}
}
