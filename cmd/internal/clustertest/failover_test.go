package clustertest

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

var (
	failovers    = flag.Int("failovers", 3, "leaders that are killed in TestFailover")
	failoversRTT = flag.Duration("failovers.rtt", 20*time.Millisecond, "its -raft.rtt")
)

// failoverMax is what nobody may wait for writes.
const failoverMax = 20 * time.Second

func startCluster(t *testing.T, options ClusterOptions) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs processes")
	}
	options.Dir = t.TempDir()
	if options.Binary == "" {
		options.Binary = binary(t)
	}
	c, err := NewCluster(options)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, p := range c.Processes() {
				if p.Lives() > 0 {
					t.Logf("%s\n%s", p.Name, p.Tail(30))
				}
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, c.Found(ctx))
	return c
}

// leads returns the place whose node leads a group, nil if nobody does.
func leads(t *testing.T, c *Cluster, group uint64) *Node {
	t.Helper()
	state, err := c.State(t.Context())
	must(t, err)
	for _, node := range state.GetNodes() {
		for _, replica := range node.GetReport().GetReplicas() {
			if node.GetAlive() && replica.GetGroupId() == group && replica.GetLeaderReplicaId() == replica.GetReplicaId() {
				for _, n := range c.Nodes {
					if node.GetReport().GetNode().GetApiAddress() == n.Advertised() {
						return n
					}
				}
			}
		}
	}
	return nil
}

// Leaders are killed one after the other. Writers wait for others to lead, and
// lose nothing.
func TestFailover(t *testing.T) {
	c := startCluster(t, ClusterOptions{Groups: 3, RTT: *failoversRTT})
	const writersEach = 3
	byGroup := map[uint64][]*writer{}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, place := range places(t, c) {
		for i := range writersEach {
			w := &writer{place: place, client: newPyroscope(t, c, c.RouterAddress), name: fmt.Sprintf("writer %d", i)}
			byGroup[place.group] = append(byGroup[place.group], w)
			running.Go(func() { w.run(ctx, 5*time.Millisecond) })
		}
	}
	working := func(group uint64, since time.Time) bool {
		return slices.ContainsFunc(byGroup[group], func(w *writer) bool { return w.begunSince(since) })
	}
	var took, elections []time.Duration
	for i := range *failovers {
		group := []uint64{2, 3, 4}[i%3]
		var leader *Node
		soon(t, "a leader", func() bool { leader = leads(t, c, group); return leader != nil })
		led := []uint64{}
		for other := range byGroup {
			if leads(t, c, other) == leader {
				led = append(led, other)
			}
		}
		killed := time.Now()
		must(t, leader.Process.Kill())
		elected := make(chan time.Duration, 1)
		go func() { elected <- awaitLeader(t, c, leader, group, killed) }()
		waiting := led
		for len(waiting) > 0 {
			if time.Since(killed) > failoverMax {
				t.Fatalf("no writes to groups %v for %v after the death of %s", waiting, failoverMax, leader.Name)
			}
			waiting = slices.DeleteFunc(waiting, func(group uint64) bool {
				if !working(group, killed) {
					return false
				}
				took = append(took, time.Since(killed))
				return true
			})
			time.Sleep(time.Millisecond)
		}
		elections = append(elections, <-elected)
		ready, stop := context.WithTimeout(ctx, time.Minute)
		must(t, leader.Start(), leader.Process.AwaitReady(ready))
		stop()
		soon(t, "all writers to work", func() bool { return working(group, time.Now().Add(-time.Second)) })
	}
	cancel()
	running.Wait()
	t.Logf("RTT %v, %d groups failed over: writes go on after %s; others lead after %s", *failoversRTT, len(took), spread(took), spread(elections))
	for _, writers := range byGroup {
		for _, w := range writers {
			w.wantAll(t)
		}
	}
	wantNoCrashes(t, c)
}

func wantNoCrashes(t *testing.T, c *Cluster) {
	t.Helper()
	crashes, err := c.Crashes()
	must(t, err)
	for _, crash := range crashes {
		t.Error(crash)
	}
}

// spread describes durations.
func spread(all []time.Duration) string {
	slices.Sort(all)
	at := func(part float64) time.Duration { return all[int(part*float64(len(all)-1))].Round(time.Millisecond) }
	return fmt.Sprintf("%v (median), %v (95 %%), %v (all)", at(0.5), at(0.95), at(1))
}

// awaitLeader returns how long after a moment another node says that it leads a
// group.
func awaitLeader(t *testing.T, c *Cluster, but *Node, group uint64, since time.Time) time.Duration {
	for time.Since(since) < failoverMax {
		for _, n := range c.Nodes {
			if n == but {
				continue
			}
			client, err := c.NodeClient(n)
			if err != nil {
				t.Error(err)
				return 0
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			answer, err := client.GroupStatus(ctx, &nodev1.GroupStatusRequest{})
			cancel()
			if err != nil {
				continue
			}
			for _, replica := range answer.GetReplicas() {
				if replica.GetGroupId() == group && replica.GetLeaderReplicaId() == replica.GetReplicaId() {
					return time.Since(since)
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return failoverMax
}
