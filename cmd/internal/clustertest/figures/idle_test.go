package figures

import (
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

var (
	idleGroups = numbersFlag("figures.idle.groups", numbers{1, 64}, "data groups of each cluster")
	idleSettle = flag.Duration("figures.idle.settle", 20*time.Second, "time before the measurement")
	idleTime   = flag.Duration("figures.idle.time", 30*time.Second, "time of the measurement, and of each profile; 1s or more")
)

// idleTarget is the share of a core that a node with idle groups should stay below.
const idleTarget = 0.03

// TestFigureIdle measures what groups cost that do nothing, and where.
func TestFigureIdle(t *testing.T) {
	binary, dir := measures(t)
	figures := &table{title: fmt.Sprintf("Idle: three nodes, %v", *idleTime), columns: []string{
		"groups", "node", "leaders", "CPU % of a core", "RSS", "goroutines", "threads asleep/s", "objects allocated/s", "allocated/s", "GC runs", "Raft frames sent/s", "Raft bytes sent/s",
	}}
	for _, groups := range *idleGroups {
		t.Run(fmt.Sprintf("groups=%d", groups), func(t *testing.T) {
			idle(t, binary, filepath.Join(dir, strconv.Itoa(groups)), groups, figures)
		})
	}
	figures.print(t, dir)
}

func idle(t *testing.T, binary, dir string, groups int, figures *table) {
	c := found(t, binary, dir, groups, 0)
	c.awaitSpread(t)
	time.Sleep(*idleSettle)
	led := c.awaitLeaders(t)
	before := measureIdle(t, c, true)
	time.Sleep(*idleTime)
	after := measureIdle(t, c, false)

	busiest, most := c.nodes[0], time.Duration(0)
	for i, n := range c.nodes {
		a, b := before[i], after[i]
		seconds := b.at.Sub(a.at).Seconds()
		rate := func(name string) float64 {
			return (b.metrics.sum(name) - a.metrics.sum(name)) / b.scrapedAt.Sub(a.scrapedAt).Seconds()
		}
		used := b.cpu - a.cpu
		share := used.Seconds() / seconds
		now, _, err := memory(n.pid)
		must(t, err)
		figures.row(groups, n.Name, led[i], fmt.Sprintf("%.2f", 100*share), mebibytes(now), b.metrics.sum("go_goroutines"), fmt.Sprintf("%.0f", (b.switches-a.switches)/seconds),
			fmt.Sprintf("%.0f", rate("go_memstats_mallocs_total")), mebibytes(rate("go_memstats_alloc_bytes_total")),
			b.metrics.sum("go_gc_duration_seconds")-a.metrics.sum("go_gc_duration_seconds"),
			fmt.Sprintf("%.0f", rate("skerry_raft_transport_sent_frames_total")), fmt.Sprintf("%.0f", rate("skerry_raft_transport_sent_bytes_total")))
		if share >= idleTarget {
			figures.note("%s with %d groups takes %.2f %% of a core: %.0f %% or more", n.Name, groups, 100*share, 100*idleTarget)
		}
		if used > most {
			busiest, most = n, used
		}
	}
	profile(t, binary, busiest, dir, *idleTime)
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
