package server

import (
	"bytes"

	"github.com/lni/dragonboat/v4"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// raftMetrics gathers the metrics that the Raft library keeps in a registry of
// its own and offers as text only. Read back from the text they can be served
// in every format that a scraper asks for.
func raftMetrics() ([]*dto.MetricFamily, error) {
	var text bytes.Buffer
	dragonboat.WriteHealthMetrics(&text)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	byName, err := parser.TextToMetricFamilies(&text)
	if err != nil {
		return nil, err
	}
	families := make([]*dto.MetricFamily, 0, len(byName))
	for _, family := range byName {
		families = append(families, family)
	}
	return families, nil
}

// gatherer joins our own metrics with the library's.
func (s *server) gatherer() prometheus.Gatherer {
	return prometheus.Gatherers{s.metrics, prometheus.GathererFunc(raftMetrics)}
}
