package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
)

// benchProgress shows how far measurements are: on a terminal each second, elsewhere
// now and then. It is safe for concurrent use: several targets are measured at once.
type benchProgress struct {
	std   streams
	quiet bool

	mu    sync.Mutex
	shown time.Time
}

func newBenchProgress(std streams, f *benchFlags) *benchProgress {
	return &benchProgress{std: std, quiet: f.format.Value == formatJSON, shown: time.Now()}
}

func (p *benchProgress) of(name string) func(pace.Progress) {
	return func(now pace.Progress) { p.line(benchLine(name, now)) }
}

func (p *benchProgress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.std.terminal:
		fmt.Fprint(p.std.err, clearLine+text)
	case !p.quiet && time.Since(p.shown) >= importLineInterval:
		p.shown = time.Now()
		fmt.Fprintln(p.std.err, text)
	}
}

func (p *benchProgress) clear() {
	if p.std.terminal {
		fmt.Fprint(p.std.err, clearLine)
	}
}

// benchSteps says what begins, and how far it is, or for how long it goes on if nobody says that. It is safe for
// concurrent use.
type benchSteps struct {
	*benchProgress
	prefix string

	naming sync.Mutex
	name   string
	since  time.Time
	// When somebody last said how far it is.
	heard time.Time
}

// steps says so until stop is called.
func (p *benchProgress) steps(prefix string) (s *benchSteps, stop func()) {
	s = &benchSteps{benchProgress: p, prefix: prefix}
	done := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.still()
			case <-done:
				return
			}
		}
	})
	return s, func() {
		close(done)
		saying.Wait()
	}
}

func (s *benchSteps) step(name string) {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.name, s.since, s.heard = s.prefix+name, time.Now(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if !s.quiet {
		fmt.Fprintln(s.std.err, "bench: "+s.name)
	}
}

func (s *benchSteps) progress(now pace.Progress) {
	s.naming.Lock()
	s.heard = time.Now()
	name := s.name
	s.naming.Unlock()
	s.of(name)(now)
}

// still says for how long a step goes on of which nothing else is heard.
func (s *benchSteps) still() {
	s.naming.Lock()
	name, since, silent := s.name, s.since, time.Since(s.heard)
	s.naming.Unlock()
	if name != "" && silent >= 2*time.Second {
		s.line(name + ": for " + time.Since(since).Round(time.Second).String())
	}
}

func benchLine(name string, now pace.Progress) string {
	line := fmt.Sprintf("%s: %s", name, thousands(now.Answered))
	if now.Calls > 0 {
		line += fmt.Sprintf(" of %s (%d%%)", thousands(now.Calls), 100*now.Answered/now.Calls)
	}
	line += fmt.Sprintf(", %s/s, %s, %s failed", thousands(uint64(now.RecentRate)), now.Elapsed.Round(time.Second), thousands(now.Failed))
	if now.Unsent > 0 {
		line += fmt.Sprintf(", %s not sent", thousands(now.Unsent))
	}
	if now.Wrong > 0 {
		line += fmt.Sprintf(", %s WRONG", thousands(now.Wrong))
	}
	return line
}

func milliseconds(d *pace.Distribution, share float64) string {
	if d.Count == 0 || share < 1 && !d.Tells(share) {
		return "-"
	}
	if micros := d.At(share); micros >= 999_500 {
		return fmt.Sprintf("%.2f s", float64(micros)/1e6)
	}
	return fmt.Sprintf("%.3g ms", float64(d.At(share))/1000)
}

// Details that come first, in this order; others follow by name.
var benchDetails = []string{"jobs", "sources", "results", "working_ms", "stop_ms", "start_ms"}

func detailNames(details map[string]uint64) []string {
	rank := func(name string) int {
		if at := slices.Index(benchDetails, name); at >= 0 {
			return at
		}
		return len(benchDetails)
	}
	return slices.SortedFunc(maps.Keys(details), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
}

func benchDetail(name string, n uint64) string {
	if what, bytes := strings.CutSuffix(name, "_bytes"); bytes {
		return sizeText(n) + " " + strings.ReplaceAll(what, "_", " ")
	}
	return thousands(n) + " " + strings.ReplaceAll(name, "_", " ")
}

func writeBench(w io.Writer, f *result.File) error {
	runs := newGrid("SCENARIO", "TARGET", "CALLERS", "BLOCKS", "ANSWERED", "FAILED", "WRONG", "RATE", "ITEMS", "P50", "P99", "P99.9", "MAX")
	for i := range f.Runs {
		r := &f.Runs[i]
		callers := fmt.Sprint(r.Callers)
		if r.Rate > 0 {
			callers = fmt.Sprintf("%g/s", r.Rate)
		}
		failed := thousands(r.Failed)
		if r.Unsent > 0 {
			failed += fmt.Sprintf(" + %s unsent", thousands(r.Unsent))
		}
		runs.row(r.Scenario, r.Target, callers, thousands(r.Blocks), thousands(r.Answered), failed, thousands(r.Wrong), fmt.Sprintf("%.1f/s", r.Throughput),
			fmt.Sprintf("%.1f", r.ItemsPerAnswer), milliseconds(&r.Latency, 0.5), milliseconds(&r.Latency, 0.99), milliseconds(&r.Latency, 0.999), milliseconds(&r.Latency, 1))
	}
	if err := runs.write(w); err != nil || len(f.Steps) == 0 {
		return err
	}
	steps := newGrid("STEP", "TARGET", "BLOCKS", "SECONDS", "MEMORY", "PEAK", "DISK", "CPU", "DETAILS")
	for _, s := range f.Steps {
		var details []string
		for _, name := range detailNames(s.Details) {
			details = append(details, benchDetail(name, s.Details[name]))
		}
		steps.row(s.Name, s.Target, thousands(s.Blocks), fmt.Sprintf("%.2f", s.Seconds), sizeText(uint64(s.MemoryBytes)), sizeText(uint64(s.PeakMemoryBytes)),
			sizeText(uint64(s.DiskBytes)), fmt.Sprintf("%.2f s", s.CPUSeconds), strings.Join(details, ", "))
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return steps.write(w)
}
