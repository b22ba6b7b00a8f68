package shardgroup_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// cluster is several nodes in one process, each with a replica of every group.
type cluster struct {
	options []shardgroup.Options
	metrics []*prometheus.Registry

	mu    sync.RWMutex
	nodes []*shardgroup.Node // nil while stopped
}

func found(t testing.TB, size, groups int, rtt time.Duration) *cluster {
	t.Helper()
	return foundWith(t, size, groups, rtt, func(*shardgroup.Options) {})
}

// foundWith is found with options changed on each node.
func foundWith(t testing.TB, size, groups int, rtt time.Duration, change func(*shardgroup.Options)) *cluster {
	t.Helper()
	layout := shardgroup.FoundingLayout{ClusterID: uuid.NewString(), Groups: groups, CreatedAt: time.Now().UnixNano()}
	for range size {
		layout.Nodes = append(layout.Nodes, &clusterv1.Node{NodeId: uuid.NewString(), RaftAddress: freeAddress(t), State: clusterv1.NodeState_NODE_STATE_UP})
	}
	founding, err := shardgroup.NewFounding(layout)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{nodes: make([]*shardgroup.Node, size)}
	dir := t.TempDir()
	for _, node := range layout.Nodes {
		c.metrics = append(c.metrics, prometheus.NewRegistry())
		c.options = append(c.options, shardgroup.Options{
			DataDir: filepath.Join(dir, node.GetNodeId()), RaftAddress: node.GetRaftAddress(), Founding: founding, NodeID: node.GetNodeId(),
			RTT: rtt, CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
		})
		change(&c.options[len(c.options)-1])
	}
	var starting sync.WaitGroup
	for i := range c.nodes {
		starting.Go(func() { c.start(t, i) })
	}
	starting.Wait()
	t.Cleanup(func() {
		for i := range c.nodes {
			c.stop(t, i)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return c
}

func (c *cluster) start(t testing.TB, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := openReady(ctx, c.options[i], zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)), c.metrics[i])
	if err != nil {
		t.Errorf("node %d: %v", i, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i] = node
	c.options[i].Founding, c.options[i].NodeID = nil, "" // needed once only
}

func (c *cluster) stop(t testing.TB, i int) {
	t.Helper()
	c.mu.Lock()
	node := c.nodes[i]
	c.nodes[i] = nil
	c.mu.Unlock()
	if node == nil {
		return
	}
	if err := node.Close(); err != nil {
		t.Errorf("node %d: %v", i, err)
	}
}

func (c *cluster) node(i int) *shardgroup.Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes[i]
}

// leader returns the node that leads a group, and one that follows.
func (c *cluster) leader(t testing.TB, group uint64) (leader, follower int) {
	t.Helper()
	await(t, "a leader", func() bool {
		for i := range c.nodes {
			if node := c.node(i); node != nil && node.LeaderEpoch(group) > 0 {
				leader, follower = i, (i+1)%len(c.nodes)
				return true
			}
		}
		return false
	})
	return leader, follower
}

// await waits until a condition holds that others bring about.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
	}
}

// retried repeats a call while the node says that this may help.
func retried[A any](t testing.TB, call func() (A, error)) A {
	t.Helper()
	var answer A
	await(t, "an answer", func() bool {
		var err error
		if answer, err = call(); err != nil && status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
		return err == nil
	})
	return answer
}

// rangeMapSoon is rangeMap of a node that may be electing a leader.
func rangeMapSoon(t testing.TB, node *shardgroup.Node) *clusterv1.Map {
	t.Helper()
	response := retried(t, func() (*nodev1.RangeMapResponse, error) {
		return node.Service().RangeMap(t.Context(), &nodev1.RangeMapRequest{})
	})
	m, err := clusterv1.NewMap(response.GetMap())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestThreeNodes(t *testing.T) {
	c := found(t, 3, 2, 10*time.Millisecond)
	m := rangeMapSoon(t, c.node(0))
	if len(m.Proto().GetNodes()) != 3 || len(m.Group(2).GetReplicas()) != 3 {
		t.Fatalf("the map is %v", m.Proto())
	}
	blocks := segments(t)
	// Written at any node, read at every other one at once.
	for i, block := range blocks {
		retried(t, func() (*nodev1.AddBlockResponse, error) {
			return c.node(i%3).Service().AddBlock(t.Context(), addRequest(t, m, block))
		})
		for n := range c.nodes {
			wantBlocks(t, c.node(n), m, blocks[i:i+1])
		}
	}
	// Without one of them the others go on, and it catches up.
	leader, _ := c.leader(t, 2)
	c.stop(t, leader)
	rest := c.node((leader + 1) % 3)
	retried(t, func() (*nodev1.AddBlockResponse, error) {
		return rest.Service().AddBlock(t.Context(), addRequest(t, m, blocks[0]))
	})
	c.start(t, leader)
	if c.node(leader) == nil {
		t.FailNow()
	}
	wantBlocks(t, c.node(leader), m, blocks)
}

// Reads on a follower share read index rounds, and see what was acknowledged
// while an earlier round was under way.
func TestReadsShareRounds(t *testing.T) {
	c := found(t, 3, 1, 50*time.Millisecond)
	m := rangeMap(t, c.node(0))
	const group = clusterv1.DirectoryGroup + 1
	leader, follower := c.leader(t, group)
	block := segments(t)[0]
	release, stop := c.node(follower).HoldRounds(group)
	defer stop()
	before := counterOf(t, c.metrics[follower], "skerry_group_read_rounds_total", "2")

	var early sync.WaitGroup
	early.Go(func() { getBlock(t, c.node(follower), addRequest(t, m, block)) })
	await(t, "the first round", func() bool { return c.node(follower).RoundRuns(group) })
	retried(t, func() (*nodev1.AddBlockResponse, error) {
		return c.node(leader).Service().AddBlock(t.Context(), addRequest(t, m, block))
	})
	const readers = 64
	var late sync.WaitGroup
	for range readers {
		late.Go(func() {
			if found := getBlock(t, c.node(follower), addRequest(t, m, block)); found != 1 {
				t.Error("a read missed what was acknowledged before it began")
			}
		})
	}
	await(t, "the readers", func() bool { return c.node(follower).WaitingReads(group) == readers })
	release()
	early.Wait()
	release()
	late.Wait()
	if rounds := counterOf(t, c.metrics[follower], "skerry_group_read_rounds_total", "2") - before; rounds != 2 {
		t.Errorf("%d reads took %v rounds, want 2", readers+1, rounds)
	}
}

func getBlock(t testing.TB, node *shardgroup.Node, add *nodev1.AddBlockRequest) int {
	block := decode(t, add.GetBlock())
	answer, err := node.Service().GetBlocks(t.Context(), &nodev1.GetBlocksRequest{
		GroupId: add.GetGroupId(), Range: add.GetRange(), Tenant: block.TenantName(), Shard: block.GetShard(), Ids: []string{block.GetId()},
	})
	if err != nil {
		t.Errorf("an election during the test? %v", err)
	}
	return len(answer.GetBlocks())
}

func counterOf(t testing.TB, registry *prometheus.Registry, name, group string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == group {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}
