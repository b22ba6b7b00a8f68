package router

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func readOf(t testing.TB, r *Router, n int) error {
	_, err := (&indexService{router: r}).GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: &metastorev1.BlockList{Blocks: []string{blockID(n)}}})
	return err
}

func asked(calls []entry) map[string]int {
	byNode := map[string]int{}
	for _, e := range calls {
		byNode[e.node]++
	}
	return byNode
}

func TestReadsSpreadOverReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 3)
		r := c.start(t, Options{})
		for i := range 300 {
			if err := readOf(t, r, i); err != nil {
				t.Fatal(err)
			}
		}
		for _, node := range []string{"n1", "n2", "n3"} {
			if got := asked(c.calls("GetBlocks"))[node]; got < 50 {
				t.Errorf("%s got %d of 300 reads", node, got)
			}
		}
	})
}

// A replica on which calls pile up gets less.
func TestReadsAvoidTheBusyReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 2)
		r := c.start(t, Options{})
		c.setBefore(func(e entry) error {
			if e.call == "GetBlocks" && e.node == "n1" {
				return wait(e.ctx, time.Second) // a slow node
			}
			return nil
		})
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				if err := readOf(t, r, i); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(10 * time.Millisecond)
		}
		all.Wait()
		if got := asked(c.calls("GetBlocks")); got["n1"] > got["n2"] {
			t.Errorf("the slow node got %d reads, the other %d", got["n1"], got["n2"])
		}
	})
}

// A dead replica costs one quick attempt now and then, not each request one.
func TestDeadReplicaIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 3)
		r := c.start(t, Options{})
		c.setBefore(func(e entry) error {
			if e.call == "GetBlocks" && e.node == "n2" {
				return status.Error(codes.Unavailable, "connection refused")
			}
			return nil
		})
		start := time.Now()
		for i := range 500 {
			if err := readOf(t, r, i); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := asked(c.calls("GetBlocks"))["n2"]; got == 0 || got > 6 {
			t.Errorf("the dead node was asked %d times in 5 s", got)
		}
		if lost := time.Since(start) - 5*time.Second; lost > 20*time.Millisecond {
			t.Errorf("the dead node cost %s", lost)
		}
	})
}

func TestWritesGoToTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 3)
		r := c.start(t, Options{})
		lead := func(node int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			group := c.truth.Group(2)
			c.status = []*nodev1.GroupReplica{{GroupId: 2, LeaderReplicaId: group.GetReplicas()[node-1].GetReplicaId()}}
		}
		lead(3)
		write := func(n int) {
			t.Helper()
			if err := addBlock(t.Context(), r, newBlock("acme", 1, n)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the look-up of the leader, if any
		}
		write(0) // anywhere: the leader is not known yet
		for i := range 20 {
			write(i)
		}
		calls := c.calls("AddBlock")
		if got := asked(calls[1:]); got["n3"] != 20 {
			t.Errorf("asked %v, want n3 only", got)
		}
		if got := len(c.calls("GroupStatus")); got != 2 {
			t.Errorf("looked up %d times, want two nodes once", got)
		}
		// The leader dies, another one takes over.
		lead(1)
		c.setBefore(func(e entry) error {
			if e.node == "n3" {
				return status.Error(codes.Unavailable, "connection refused")
			}
			return nil
		})
		for i := range 20 {
			write(i)
		}
		if got := asked(c.calls("AddBlock")[len(calls):]); got["n3"] > 2 || got["n1"] < 15 {
			t.Errorf("asked %v after n1 took over from n3", got)
		}
	})
}

// An overload is not reflected as more load: the router asks a few times, ever
// slower, and the one error that clients repeat comes only when most of their
// own time is over.
func TestOverloadIsAbsorbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 1, 1, 3)
		r := c.start(t, Options{})
		c.setBefore(failing("QueryBlocks", 1<<30, status.Error(codes.ResourceExhausted, "too many reads")))
		start := time.Now()
		// As Pyroscope's client: 20 s in all, up to 50 attempts.
		for attempt := 0; attempt < 50 && time.Since(start) < 20*time.Second; attempt++ {
			_, err := (&queryService{router: r}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{}"})
			wantCode(t, err, codes.Unavailable)
			time.Sleep(10 * time.Millisecond)
		}
		if calls := len(c.calls("QueryBlocks")); calls > 45 {
			t.Errorf("one query became %d calls to an overloaded group", calls)
		}
	})
}

// Replicas that come and go are not asked: they may be far behind, or gone.
func TestOnlyVotersAreAsked(t *testing.T) {
	group := &clusterv1.Group{GroupId: 2, Replicas: []*clusterv1.Replica{
		{ReplicaId: 1, NodeId: "voter", Role: clusterv1.ReplicaRole_REPLICA_ROLE_VOTER},
		{ReplicaId: 2, NodeId: "learner", Role: clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER},
		{ReplicaId: 3, NodeId: "leaving", Role: clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING},
	}}
	var r replicas
	for _, tried := range [][]string{nil, {"voter"}} {
		for range 100 {
			if node, ok := r.pick(group, "", tried); node != "voter" || !ok {
				t.Fatalf("picked %q after %v", node, tried)
			}
		}
	}
}
