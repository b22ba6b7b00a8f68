package clustertest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// underLoad lets clients with Pyroscope's patience use the cluster while something
// is done to it. None of their calls may fail, and nothing may be lost.
func underLoad(t *testing.T, c *Cluster, do func()) {
	t.Helper()
	var writers []*writer
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run := func(name string, addresses ...string) {
		for _, place := range places(t, c) {
			w := &writer{place: place, client: newPyroscope(t, c, addresses...), name: name}
			writers = append(writers, w)
			running.Go(func() { w.run(ctx, 10*time.Millisecond) })
		}
	}
	run("by the router", c.RouterAddress)
	run("by all", c.Public()...)
	var queries []error
	reader := newPyroscope(t, c, c.Public()...)
	running.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			w := writers[i%len(writers)]
			w.mu.Lock()
			ids := w.acked[max(0, len(w.acked)-20):]
			w.mu.Unlock()
			if len(ids) == 0 {
				continue
			}
			blocks, err := reader.get(ctx, w.tenant, w.shard, ids)
			if err == nil && len(blocks) != len(ids) {
				err = fmt.Errorf("%d of %d acknowledged blocks are there", len(blocks), len(ids))
			}
			if err != nil && ctx.Err() == nil {
				queries = append(queries, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	do()
	// What was begun ends.
	cancel()
	running.Wait()
	for _, err := range queries {
		t.Errorf("query: %v", err)
	}
	var slowest time.Duration
	acked := 0
	for _, w := range writers {
		for _, err := range w.faults {
			t.Error(err)
		}
		w.wantAll(t)
		slowest = max(slowest, w.slowest)
		acked += len(w.acked)
	}
	t.Logf("%d blocks added, the slowest within %v", acked, slowest.Round(time.Millisecond))
	wantNoCrashes(t, c)
}

// again stops a node in order and starts it, with a binary.
func again(t *testing.T, c *Cluster, n *Node, binary string) {
	t.Helper()
	must(t, n.Stop())
	n.Process.Path = binary
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, n.Start(), n.Process.AwaitReady(ctx))
	// The next one may go once all are there again.
	soon(t, "the directory to hear of "+n.Name, func() bool {
		state, err := c.State(t.Context())
		if err != nil {
			return false
		}
		_, err = nodesUp(state)
		return err == nil
	})
}

func TestRollingRestart(t *testing.T) {
	c := startCluster(t, ClusterOptions{})
	underLoad(t, c, func() {
		for _, n := range c.Nodes {
			again(t, c, n, n.Process.Path)
		}
	})
}

// Nodes are replaced by those of the next release, one after the other. Then the
// new format is used, and there is no way back.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs processes")
	}
	dir := t.TempDir()
	next, err := Build(t.Context(), filepath.Join(dir, "next"), "skerry_next")
	must(t, err)
	c := startCluster(t, ClusterOptions{})
	previous := c.Nodes[0].Process.Path
	activate := func() error {
		_, err := c.Operate(t.Context(), &nodev1.OperateRequest{Action: &nodev1.OperateRequest_ActivateFormat{
			ActivateFormat: &raftlogv1.ActivateFormat{Format: clusterv1.FirstFormat + 1}}})
		return err
	}
	underLoad(t, c, func() {
		for i, n := range c.Nodes {
			if err := activate(); err == nil {
				t.Errorf("a format was activated that %d nodes do not know", len(c.Nodes)-i)
			}
			again(t, c, n, next)
		}
		must(t, activate())
	})
	// Back to the release before: refused, with a reason.
	n := c.Nodes[0]
	must(t, n.Stop())
	n.Process.Path = previous
	must(t, n.Start())
	select {
	case <-n.Process.Exited():
	case <-time.After(30 * time.Second):
		t.Fatal("a node that does not know the format runs")
	}
	if log := n.Process.Tail(10); n.Process.End() == nil || !strings.Contains(log, "format") {
		t.Errorf("it ended with %v:\n%s", n.Process.End(), log)
	}
	n.Process.Path = next
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, n.Start(), n.Process.AwaitReady(ctx), c.AwaitConverged(ctx, 30*time.Second), c.CheckStores(ctx))
}
