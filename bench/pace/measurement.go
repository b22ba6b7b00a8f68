package pace

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// Latencies are kept in microseconds, to three digits.
	latencyMax = int64(time.Hour / time.Microsecond)
	digits     = 3
	// Examples of wrong answers and of errors that are kept.
	examplesMax = 10
	// Points of a series, before two of them become one.
	pointsMax = 600
)

// Measurement is what came of calls.
type Measurement struct {
	mu sync.Mutex
	// From when a call was to begin, and, of an open loop, from when it really did;
	// of calls that were answered or timed out. Refusals, which are fast, are left
	// out. The first has what was not sent, too: as late as it was when that was clear.
	latency, service *hdrhistogram.Histogram
	elapsed          time.Duration
	answered         uint64
	errors           map[string]uint64
	failed           uint64
	notSent, wrongs  uint64
	wrongExamples    []string
	errorExamples    []string
	series           series
}

func newMeasurement(open bool) *Measurement {
	m := &Measurement{latency: hdrhistogram.New(1, latencyMax, digits), errors: map[string]uint64{}, series: series{interval: time.Second}}
	if open {
		m.service = hdrhistogram.New(1, latencyMax, digits)
	}
	return m
}

func micros(d time.Duration) int64 {
	return min(max(1, int64(d/time.Microsecond)), latencyMax)
}

func (m *Measurement) record(at, latency, service time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	code := status.Code(err)
	if err == nil || code == codes.DeadlineExceeded {
		_ = m.latency.RecordValue(micros(latency)) // within bounds
		if m.service != nil {
			_ = m.service.RecordValue(micros(service))
		}
	}
	m.series.add(at, latency, err != nil)
	if err == nil {
		m.answered++
		return
	}
	m.failed++
	m.errors[code.String()]++
	if len(m.errorExamples) < examplesMax {
		m.errorExamples = append(m.errorExamples, err.Error())
	}
}

// unsent counts a call that came too late to be begun.
func (m *Measurement) unsent(at, late time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notSent++
	_ = m.latency.RecordValue(micros(late)) // within bounds
}

func (m *Measurement) wrong(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrongs++
	if len(m.wrongExamples) < examplesMax {
		m.wrongExamples = append(m.wrongExamples, err.Error())
	}
}

func (m *Measurement) end(elapsed time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.elapsed = elapsed
}

// Answered is the number of calls without an error.
func (m *Measurement) Answered() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.answered
}

func (m *Measurement) progress(elapsed time.Duration) Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Progress{Elapsed: elapsed, Answered: m.answered, Failed: m.failed, Wrong: m.wrongs, Unsent: m.notSent}
}

// Point is one interval of a series.
type Point struct {
	Answered uint64 `json:"answered"`
	Failed   uint64 `json:"failed,omitempty"`
	// The longest of calls that ended in it.
	MaxMicros int64 `json:"max_us"`
}

// series is what happened over time, in a bounded number of intervals.
type series struct {
	interval time.Duration
	points   []Point
}

func (s *series) add(at, latency time.Duration, failed bool) {
	for int(at/s.interval) >= pointsMax {
		s.halve()
	}
	n := max(0, int(at/s.interval))
	for len(s.points) <= n {
		s.points = append(s.points, Point{})
	}
	p := &s.points[n]
	if failed {
		p.Failed++
	} else {
		p.Answered++
	}
	p.MaxMicros = max(p.MaxMicros, micros(latency))
}

func (s *series) halve() {
	s.interval *= 2
	var halved []Point
	for i := 0; i < len(s.points); i += 2 {
		p := s.points[i]
		if i+1 < len(s.points) {
			next := s.points[i+1]
			p = Point{p.Answered + next.Answered, p.Failed + next.Failed, max(p.MaxMicros, next.MaxMicros)}
		}
		halved = append(halved, p)
	}
	s.points = halved
}
