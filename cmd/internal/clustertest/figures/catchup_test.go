package figures

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	benchusage "github.com/skerrydb/skerry/bench/usage"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

var (
	catchUpBlocks   = flag.Int("figures.catchup", 500_000, "blocks that the node that catches up lacks")
	catchUpBefore   = flag.Int("figures.catchup.before", 10_000, "blocks that it has already, or had")
	catchUpGroups   = flag.Int("figures.catchup.groups", 4, "data groups; all take segments")
	catchUpPatience = flag.Duration("figures.catchup.patience", 30*time.Minute, "how long to wait for it")
	catchUpWrites   = flag.Bool("figures.catchup.writes", false, "go on adding blocks meanwhile, with 4 callers")
)

// TestFigureCatchUp measures how long a node needs to get what it lacks: one that
// was stopped, from a log that is gone by then if there was enough to add, and a
// new one that takes the place of one that is lost.
func TestFigureCatchUp(t *testing.T) {
	binary, dir := measures(t)
	figures := &table{title: fmt.Sprintf("Catching up by %d blocks in %d groups", *catchUpBlocks, *catchUpGroups), columns: []string{
		"node", "exec to ready s", "exec to caught up s", "sent by the others", "CPU s, node", "others", "peak RSS, node", "others, before", "others, meanwhile", "data folder, node", "other",
	}}
	t.Run("stopped", func(t *testing.T) { measureCatchUp(t, binary, filepath.Join(dir, "stopped"), figures, false) })
	t.Run("replaced", func(t *testing.T) { measureCatchUp(t, binary, filepath.Join(dir, "replaced"), figures, true) })
	figures.print(t, dir)
}

func measureCatchUp(t *testing.T, binary, dir string, figures *table, replaced bool) {
	c := found(t, binary, dir, *catchUpGroups, *catchUpGroups)
	c.awaitSpread(t)
	l := &load{clients: index(t, 2, c.nodes[0], c.nodes[1]), blocks: newBlocks(week / time.Duration(max(1, *catchUpBefore+*catchUpBlocks)))}
	l.runCount(t, *loadCallers, *catchUpBefore)
	late := c.nodes[2]
	_, lost, err := replicas(t.Context(), late.client(t))
	must(t, err)
	if replaced {
		must(t, late.Kill(), os.RemoveAll(late.dir))
	} else {
		must(t, late.Terminate(stopPatience))
	}
	filled := l.runCount(t, *loadCallers, *catchUpBlocks)
	figures.note("added with two of three nodes, %d callers: %.0f blocks/s; failures: %s", *loadCallers, filled.rate(), l.failures.take())

	others := &cluster{binary: binary, dir: dir, groups: c.groups, nodes: c.nodes[:2]}
	if replaced {
		late = newNode(t, binary, dir, "node", 4, "-join", c.nodes[0].api+","+c.nodes[1].api)
		c.nodes = append(c.nodes, late)
	}
	peaksBefore := peaks(t, others)
	for _, n := range others.nodes {
		must(t, resetPeak(n.pid))
	}
	before, cpu := others.scrape(t), others.cpu(t)
	stopWrites := func() {}
	if *catchUpWrites {
		stopWrites = l.goOn(t, 4)
	}
	began := time.Now()
	late.start(t)
	late.awaitReady(t)
	ready := time.Since(began)
	what := "stopped"
	if replaced {
		what = "replaced"
		c.command(t, "replace", lost, "-addr", c.nodes[0].api, "-force", "-reason", "measurement")
	}
	awaitCaughtUp(t, late, c.nodes[0], c.groups)
	caughtUp := time.Since(began)
	stopWrites()

	cpu = others.cpu(t) - cpu
	lateCPU, err := cpuTime(late.pid)
	must(t, err)
	_, latePeak, err := memory(late.pid)
	must(t, err)
	lateSize, err := benchusage.Folder(late.dir)
	must(t, err)
	size, err := benchusage.Folder(c.nodes[0].dir)
	must(t, err)
	figures.row(what, fmt.Sprintf("%.2f", ready.Seconds()), fmt.Sprintf("%.2f", caughtUp.Seconds()), sent(before, others.scrape(t)),
		fmt.Sprintf("%.2f", lateCPU.Seconds()), fmt.Sprintf("%.2f", cpu.Seconds()), mebibytes(latePeak), peaksBefore, peaks(t, others), mebibytes(lateSize), mebibytes(size))
	c.stop(t)
}

// peaks lists the most memory that each process had.
func peaks(t *testing.T, c *cluster) string {
	t.Helper()
	var texts []string
	for _, n := range c.nodes {
		_, peak, err := memory(n.pid)
		must(t, err)
		texts = append(texts, mebibytes(peak))
	}
	return strings.Join(texts, ", ")
}

// awaitCaughtUp waits until a node has all that another one has.
func awaitCaughtUp(t *testing.T, late, other *node, groups int) {
	t.Helper()
	lateClient, otherClient := late.client(t), other.client(t)
	end := time.Now().Add(*catchUpPatience)
	for {
		// In this order: what is wanted may grow meanwhile, what is there must reach it.
		want, _, err := replicas(t.Context(), otherClient)
		must(t, err)
		if len(want) != groups+1 {
			t.Fatalf("%s has %d replicas, want those of %d groups and the directory", other.Name, len(want), groups)
		}
		got, _, err := replicas(t.Context(), lateClient)
		reason := ""
		if err != nil {
			reason = err.Error()
		} else {
			reason = lacks(got, want)
		}
		if reason == "" {
			return
		}
		if time.Now().After(end) || !late.Running() {
			t.Fatalf("%s has not caught up: %s\n%s", late.Name, reason, late.Tail(20))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lacks tells what a node lacks of what another one has, empty for nothing.
func lacks(got, want map[uint64]*nodev1.GroupReplica) string {
	for group, there := range want {
		here := got[group]
		switch {
		case here == nil:
			return fmt.Sprintf("it has no replica of group %d", group)
		case here.GetError() != "":
			return fmt.Sprintf("group %d: %s", group, here.GetError())
		case here.GetAppliedIndex() < there.GetAppliedIndex():
			return fmt.Sprintf("group %d: it has applied %d of %d", group, here.GetAppliedIndex(), there.GetAppliedIndex())
		}
	}
	return ""
}

func TestLacks(t *testing.T) {
	at := func(applied uint64, fault string) *nodev1.GroupReplica {
		return &nodev1.GroupReplica{AppliedIndex: applied, Error: fault}
	}
	want := map[uint64]*nodev1.GroupReplica{1: at(5, ""), 2: at(7, "")}
	for name, c := range map[string]struct {
		got   map[uint64]*nodev1.GroupReplica
		lacks bool
	}{
		"all":     {map[uint64]*nodev1.GroupReplica{1: at(5, ""), 2: at(8, "")}, false},
		"behind":  {map[uint64]*nodev1.GroupReplica{1: at(5, ""), 2: at(6, "")}, true},
		"absent":  {map[uint64]*nodev1.GroupReplica{1: at(5, "")}, true},
		"failing": {map[uint64]*nodev1.GroupReplica{1: at(5, ""), 2: at(7, "not started yet")}, true},
	} {
		if reason := lacks(c.got, want); (reason != "") != c.lacks {
			t.Errorf("%s: %q", name, reason)
		}
	}
}
