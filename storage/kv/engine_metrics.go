package kv

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// metric is one figure and how it is taken.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	take func(m *pebble.Metrics, e *engineEvents) float64
}

type engineMetrics struct {
	engine  *Engine
	metrics []metric
}

// Metrics returns a collector of the engine's state: disk, memory, cache, compaction and stalls. It
// may be registered once per registry; after Close, and over another store than Pebble, it collects nothing.
func (e *Engine) Metrics() prometheus.Collector {
	return &engineMetrics{engine: e, metrics: []metric{
		gauge("disk_usage_bytes", "Bytes of all files of the store.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.DiskSpaceUsage())
		}),
		gauge("memtable_bytes", "Bytes of tables in memory.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.MemTable.Size)
		}),
		gauge("memtables", "Tables in memory.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.MemTable.Count)
		}),
		gauge("tables", "Tables on disk.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Total().TablesCount)
		}),
		gauge("l0_files", "Tables in the level that is written to first.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Levels[0].TablesCount)
		}),
		gauge("l0_sublevels", "Tables a read may have to look into in that level.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Levels[0].Sublevels)
		}),
		gauge("read_amplification", "Tables a read may have to look into in all levels.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.ReadAmp())
		}),
		gauge("compaction_debt_bytes", "Estimated bytes still to be compacted.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Compact.EstimatedDebt)
		}),
		gauge("compactions_running", "Compactions under way.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Compact.NumInProgress)
		}),
		counter("compactions_total", "Compactions done.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Compact.Count)
		}),
		counter("flushes_total", "Tables in memory written out.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Flush.Count)
		}),
		counter("ingests_total", "Restores ingested.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Ingest.Count)
		}),
		gauge("cache_bytes", "Bytes in the block cache.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.BlockCache.Size)
		}),
		counter("cache_hits_total", "Blocks found in the cache.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.BlockCache.Hits)
		}),
		counter("cache_misses_total", "Blocks read from disk.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.BlockCache.Misses)
		}),
		gauge("snapshots", "Reading transactions open.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.Snapshots.Count)
		}),
		counter("wal_written_bytes_total", "Bytes written to the write-ahead log.", func(m *pebble.Metrics, _ *engineEvents) float64 {
			return float64(m.WAL.BytesWritten)
		}),
		gauge("stalled", "1 while writing does not get on, for whatever reason.", func(_ *pebble.Metrics, e *engineEvents) float64 {
			if e.health.reason() != "" {
				return 1
			}
			return 0
		}),
		counter("write_stalls_total", "Times writes were stopped until compaction caught up.", func(_ *pebble.Metrics, e *engineEvents) float64 {
			return float64(e.stalls.Load())
		}),
		counter("write_stall_seconds_total", "Time writes were stopped.", func(_ *pebble.Metrics, e *engineEvents) float64 {
			return time.Duration(e.stallNanos.Load()).Seconds()
		}),
		counter("slow_disk_total", "File operations that took very long.", func(_ *pebble.Metrics, e *engineEvents) float64 {
			return float64(e.diskSlow.Load())
		}),
		counter("background_failures_total", "Failures of flushes, compactions and checks.", func(_ *pebble.Metrics, e *engineEvents) float64 {
			return float64(e.failures.Load())
		}),
	}}
}

func gauge(name, help string, take func(*pebble.Metrics, *engineEvents) float64) metric {
	return metric{desc: metricDesc(name, help), kind: prometheus.GaugeValue, take: take}
}

func counter(name, help string, take func(*pebble.Metrics, *engineEvents) float64) metric {
	return metric{desc: metricDesc(name, help), kind: prometheus.CounterValue, take: take}
}

func metricDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("skerry", "kv", name), help, nil, nil)
}

// Describe lists the metrics.
func (c *engineMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		out <- m.desc
	}
}

// Collect takes all figures at one moment.
func (c *engineMetrics) Collect(out chan<- prometheus.Metric) {
	e := c.engine
	if !e.gate.enter() {
		return
	}
	defer e.gate.leave()
	if e.pebble == nil {
		return
	}
	state := e.pebble.Metrics()
	for _, m := range c.metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.take(state, e.events))
	}
}
