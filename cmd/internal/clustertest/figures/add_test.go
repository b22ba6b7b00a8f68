package figures

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var (
	addGroups  = numbersFlag("figures.add.groups", numbers{1, 4, 16}, "data groups of each cluster")
	addStreams = numbersFlag("figures.add.streams", numbers{0, -1}, "groups that take segments: 0 as init decides, -1 all")
	addCallers = numbersFlag("figures.add.callers", numbers{1, 16, 64, 256}, "concurrent adds")
	addTime    = flag.Duration("figures.add.time", 20*time.Second, "time of each measurement")
	addWarm    = flag.Duration("figures.add.warm", 5*time.Second, "time before it that does not count")
	addConns   = flag.Int("figures.add.connections", 4, "connections to each router")
	addProfile = flag.Bool("figures.add.profile", false, "after each measurement profile the node that leads most, under the same load, for twice the time")
)

// TestFigureAdd measures adds of segments, by groups and callers. What an add costs
// should not depend on how many groups share the work.
func TestFigureAdd(t *testing.T) {
	binary, dir := measures(t)
	figures := &table{title: "Adds: three nodes, blocks of 1.6 KB, client on the same machine", columns: []string{
		"groups", "taking adds", "callers", "adds/s", "p50 ms", "p99 ms", "max ms", "CPU ms/add, nodes", "client", "entries/add", "blocks/entry", "Raft KB sent/add", "failures",
	}}
	// CPU time for each add in ms, by callers: of 1 group, and of 16, as init lays them out
	// and with all of them at work.
	var one, laidOut, all map[int]float64
	for _, groups := range *addGroups {
		seen := map[int]bool{}
		for _, streams := range *addStreams {
			if streams < 0 {
				streams = groups
			}
			if streams == 1 && groups == 1 {
				streams = 0
			}
			if seen[streams] {
				continue
			}
			seen[streams] = true
			t.Run(fmt.Sprintf("groups=%d/streams=%d", groups, streams), func(t *testing.T) {
				costs := measureAdds(t, binary, filepath.Join(dir, fmt.Sprintf("%d-%d", groups, streams)), groups, streams, figures)
				switch {
				case groups == 1:
					one = costs
				case groups == 16 && streams == groups:
					all = costs
				case groups == 16:
					laidOut = costs
				}
			})
		}
	}
	compareCosts(figures, "as init lays them out", one, laidOut)
	compareCosts(figures, "that all take segments", one, all)
	figures.print(t, dir)
}

func compareCosts(figures *table, which string, one, many map[int]float64) {
	for _, callers := range *addCallers {
		if one[callers] > 0 && many[callers] > 0 {
			ratio := many[callers] / one[callers]
			verdict := "within"
			if ratio < 0.75 || ratio > 1.25 {
				verdict = "outside of"
			}
			figures.note("%d callers: an add costs %.2f times as much CPU with 16 groups %s as with 1, %s 0.75 to 1.25", callers, ratio, which, verdict)
		}
	}
}

// measureAdds returns the nodes' CPU time for each add in ms, by callers.
func measureAdds(t *testing.T, binary, dir string, groups, streams int, figures *table) map[int]float64 {
	c := found(t, binary, dir, groups, streams)
	led := c.awaitSpread(t)
	idle := c.cpu(t)
	time.Sleep(min(5*time.Second, *addTime))
	idle = c.cpu(t) - idle
	l := &load{clients: index(t, *addConns, c.nodes...), blocks: newBlocks(97 * time.Millisecond)}
	costs := map[int]float64{}
	for _, callers := range *addCallers {
		l.runFor(t, callers, *addWarm)
		l.failures.take()
		before, cpu, own := c.scrape(t), c.cpu(t), ownCPU()
		r := l.runFor(t, callers, *addTime)
		own, cpu = ownCPU()-own, c.cpu(t)-cpu
		after := c.scrape(t)
		if r.adds == 0 {
			t.Fatal("nothing was added")
		}
		adds := float64(r.adds)
		entries := after.sum("skerry_group_entry_commands") - before.sum("skerry_group_entry_commands")
		commands := after.sum("skerry_group_entry_commands_sum") - before.sum("skerry_group_entry_commands_sum")
		working := 0
		for group := range groups {
			label := []string{"group", fmt.Sprint(group + 2)}
			if after.sum("skerry_group_entry_commands", label...)-before.sum("skerry_group_entry_commands", label...) >= entries/float64(10*groups) {
				working++
			}
		}
		bytes := "not measured"
		if after.known("skerry_raft_transport_sent_bytes_total") {
			bytes = fmt.Sprintf("%.2f", (after.sum("skerry_raft_transport_sent_bytes_total")-before.sum("skerry_raft_transport_sent_bytes_total"))/1024/adds)
		}
		costs[callers] = float64(cpu) / 1e6 / adds
		figures.row(groups, working, callers, fmt.Sprintf("%.0f", r.rate()),
			milliseconds(percentile(r.times, 0.5)), milliseconds(percentile(r.times, 0.99)), milliseconds(percentile(r.times, 1)),
			fmt.Sprintf("%.3f", costs[callers]), fmt.Sprintf("%.3f", float64(own)/1e6/adds),
			fmt.Sprintf("%.4f", entries/adds), fmt.Sprintf("%.1f", commands/max(entries, 1)), bytes, l.failures.take())
		if *addProfile {
			profileAdds(t, c, l, callers)
		}
	}
	figures.note("%d groups, %d for segments: leaders on the nodes %v (the directory's included); CPU of all three nodes before the first add: %.1f %% of a core",
		groups, streams, led, 100*idle.Seconds()/min(5*time.Second, *addTime).Seconds())
	c.stop(t)
	return costs
}

func profileAdds(t *testing.T, c *cluster, l *load, callers int) {
	t.Helper()
	led := c.awaitLeaders(t)
	busiest := slices.Index(led, slices.Max(led))
	dir := filepath.Join(c.dir, fmt.Sprintf("callers-%d", callers))
	must(t, os.MkdirAll(dir, 0o755))
	stop := l.goOn(t, callers)
	profile(t, c.binary, c.nodes[busiest], dir, *addTime)
	stop()
}
