package figures

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var (
	idleGroups = flag.Int("figures.idle.groups", 64, "data groups")
	idleSettle = flag.Duration("figures.idle.settle", 20*time.Second, "time before the measurement")
	idleTime   = flag.Duration("figures.idle.time", 30*time.Second, "time of the measurement, and of each profile; 1s or more")
)

// idleTarget is the share of a core that a node with idle groups should stay below.
const idleTarget = 0.03

// TestFigureIdle measures what groups cost that do nothing, and where.
func TestFigureIdle(t *testing.T) {
	binary, dir := measures(t)
	c := found(t, binary, dir, *idleGroups, 0)
	c.awaitLeaders(t)
	time.Sleep(*idleSettle)
	led := c.awaitLeaders(t)
	before := measureIdle(t, c, true)
	time.Sleep(*idleTime)
	after := measureIdle(t, c, false)

	figures := &table{title: fmt.Sprintf("Idle: %d groups on three nodes, %v", *idleGroups, *idleTime), columns: []string{
		"node", "leaders", "CPU % of a core", "RSS", "goroutines", "threads asleep/s", "objects allocated/s", "allocated/s", "GC runs", "Raft frames sent/s", "Raft bytes sent/s",
	}}
	for i, n := range c.nodes {
		a, b := before[i], after[i]
		seconds := b.at.Sub(a.at).Seconds()
		rate := func(name string) float64 {
			return (b.metrics.sum(name) - a.metrics.sum(name)) / b.scrapedAt.Sub(a.scrapedAt).Seconds()
		}
		share := (b.cpu - a.cpu).Seconds() / seconds
		now, _, err := memory(n.pid)
		must(t, err)
		figures.row(n.Name, led[i], fmt.Sprintf("%.2f", 100*share), mebibytes(now), b.metrics.sum("go_goroutines"), fmt.Sprintf("%.0f", (b.switches-a.switches)/seconds),
			fmt.Sprintf("%.0f", rate("go_memstats_mallocs_total")), mebibytes(rate("go_memstats_alloc_bytes_total")),
			b.metrics.sum("go_gc_duration_seconds")-a.metrics.sum("go_gc_duration_seconds"),
			fmt.Sprintf("%.0f", rate("skerry_raft_transport_sent_frames_total")), fmt.Sprintf("%.0f", rate("skerry_raft_transport_sent_bytes_total")))
		if share >= idleTarget {
			figures.note("%s takes %.2f %% of a core, %.0f %% or more", n.Name, 100*share, 100*idleTarget)
		}
	}
	figures.print(t, dir)

	// The one that leads most has most to do.
	busiest, most := c.nodes[0], led[0]
	for i, n := range c.nodes {
		if led[i] > most {
			busiest, most = n, led[i]
		}
	}
	profile(t, c.binary, busiest, dir, *idleTime)
	c.stop(t)
}

// idleSample is what a process has used up to a moment.
type idleSample struct {
	at       time.Time
	cpu      time.Duration
	switches float64

	metrics   scrape
	scrapedAt time.Time
}

// measureIdle samples the beginning or the end of the time that counts, so that
// its own scrapes lie outside.
func measureIdle(t *testing.T, c *cluster, begin bool) []idleSample {
	t.Helper()
	samples := make([]idleSample, len(c.nodes))
	scrapes := func() {
		for i, one := range c.scrape(t) {
			samples[i].metrics, samples[i].scrapedAt = scrape{one}, time.Now()
		}
	}
	if begin {
		scrapes()
		time.Sleep(time.Second) // until what a scrape left behind is done with
	}
	for i, n := range c.nodes {
		var err error
		samples[i].at = time.Now()
		samples[i].cpu, err = cpuTime(n.pid)
		must(t, err)
		samples[i].switches, err = switches(n.pid)
		must(t, err)
	}
	if !begin {
		scrapes()
	}
	return samples
}

// profile saves what a process spends its time with, and what it allocates, and
// prints the top of both.
func profile(t *testing.T, binary string, n *node, dir string, d time.Duration) {
	t.Helper()
	seconds := max(1, int(d.Seconds()))
	for _, kind := range []struct{ name, path, sort string }{
		{"cpu", fmt.Sprintf("profile?seconds=%d", seconds), ""},
		{"allocs", fmt.Sprintf("allocs?seconds=%d", seconds), "-sample_index=alloc_space"},
		{"goroutines", "goroutine", ""},
	} {
		content, err := fetch(t.Context(), "http://"+n.http+"/debug/pprof/"+kind.path)
		must(t, err)
		path := filepath.Join(dir, n.Name+"."+kind.name+".pprof")
		must(t, os.WriteFile(path, content, 0o644))
		for _, by := range []string{"flat", "cum"} {
			args := []string{"tool", "pprof", "-top", "-nodecount=25"}
			if by == "cum" {
				args = append(args, "-cum")
			}
			if kind.sort != "" {
				args = append(args, kind.sort)
			}
			said, err := exec.CommandContext(t.Context(), "go", append(args, binary, path)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			fmt.Printf("\n%s of %s, %s:\n\n%s", kind.name, n.Name, by, said)
		}
		t.Logf("kept as %s", path)
	}
}
