package pace

import (
	"fmt"
	"maps"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Summary is a measurement for files.
type Summary struct {
	Seconds  float64 `json:"seconds"`
	Answered uint64  `json:"answered"`
	Failed   uint64  `json:"failed"`
	// Failures by gRPC code.
	Errors map[string]uint64 `json:"errors,omitempty"`
	// Calls of an open loop that nobody had time to begin.
	Unsent uint64 `json:"unsent,omitempty"`
	Wrong  uint64 `json:"wrong"`
	// Answered calls each second.
	Throughput float64 `json:"throughput"`
	// From the intended start.
	Latency Distribution `json:"latency"`
	// From the real one; only of an open loop.
	Service       *Distribution `json:"service,omitempty"`
	SeriesSeconds float64       `json:"series_seconds"`
	Series        []Point       `json:"series"`
	WrongExamples []string      `json:"wrong_examples,omitempty"`
	ErrorExamples []string      `json:"error_examples,omitempty"`
}

// Distribution is a histogram of microseconds.
type Distribution struct {
	Count     uint64     `json:"count"`
	Mean      float64    `json:"mean_us"`
	Quantiles []Quantile `json:"quantiles"`
	// All of it, as HdrHistogram's V2 compressed encoding in base64.
	HDR string `json:"hdr"`
}

// Quantile is a value that a share of all do not exceed.
type Quantile struct {
	Share  float64 `json:"q"`
	Micros int64   `json:"us"`
}

// shares are those of files and plots.
var shares = []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1}

// At returns the value of a share that is among those kept; 0 without any.
func (d *Distribution) At(share float64) int64 {
	for _, q := range d.Quantiles {
		if q.Share >= share {
			return q.Micros
		}
	}
	return 0
}

// Tells is whether enough calls were measured for a share: so many that one is beyond it. Of 50
// calls the 99th percentile is but the longest.
func (d *Distribution) Tells(share float64) bool {
	return d.Count > 0 && float64(d.Count)*(1-share) > 0.999
}

func distribution(h *hdrhistogram.Histogram) (Distribution, error) {
	d := Distribution{Count: uint64(h.TotalCount()), Mean: h.Mean()}
	if d.Count > 0 {
		for _, share := range shares {
			d.Quantiles = append(d.Quantiles, Quantile{share, h.ValueAtPercentile(100 * share)})
		}
	}
	encoded, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return d, fmt.Errorf("encode histogram: %w", err)
	}
	d.HDR = string(encoded)
	return d, nil
}

// Summary is the measurement when the run has ended.
func (m *Measurement) Summary() (Summary, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Summary{
		Seconds: m.elapsed.Seconds(), Answered: m.answered, Failed: m.failed, Errors: maps.Clone(m.errors), Unsent: m.notSent, Wrong: m.wrongs,
		Throughput: float64(m.answered) / max(m.elapsed, time.Microsecond).Seconds(), SeriesSeconds: m.series.interval.Seconds(), Series: m.series.points,
		WrongExamples: m.wrongExamples, ErrorExamples: m.errorExamples,
	}
	var err error
	if s.Latency, err = distribution(m.latency); err != nil {
		return s, err
	}
	if m.service != nil {
		service, err := distribution(m.service)
		if err != nil {
			return s, err
		}
		s.Service = &service
	}
	return s, nil
}
