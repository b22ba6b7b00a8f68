package shardgroup_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/router"
	"github.com/skerrydb/skerry/shardgroup"
)

// crew is nodes that come and go, in one process. Their API is reached by names
// that stand for addresses.
type crew struct {
	t   testing.TB
	dir string

	mu    sync.Mutex
	nodes map[string]*shardgroup.Node // by API address; nil while down
	// Nodes whose API cannot be reached by others.
	hidden map[string]bool
}

func newCrew(t testing.TB) *crew {
	t.Helper()
	if testing.Short() {
		t.Skip("clusters that grow and shrink take their time")
	}
	f := &crew{t: t, dir: t.TempDir(), nodes: map[string]*shardgroup.Node{}, hidden: map[string]bool{}}
	t.Cleanup(func() {
		for name := range f.nodes {
			f.stop(name)
		}
	})
	return f
}

// peer implements shardgroup.Options.Peers.
func (f *crew) peer(address string) (nodev1.NodeServiceClient, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if node := f.nodes[address]; node != nil && !f.hidden[address] {
		return router.Direct(node.Service()), nil
	}
	return nil, status.Errorf(codes.Unavailable, "%s: connection refused", address)
}

func (f *crew) node(name string) *shardgroup.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[name]
}

// open starts a node, by default one that joins through all names.
func (f *crew) open(name string, change func(*shardgroup.Options)) (*shardgroup.Node, error) {
	options := shardgroup.Options{
		DataDir: filepath.Join(f.dir, name), RaftAddress: freeAddress(f.t), APIAddress: name, Groups: 2,
		RTT: 10 * time.Millisecond, HeartbeatInterval: 50 * time.Millisecond, CacheBytes: 4 << 20, MemTableBytes: 1 << 20,
		Join: []string{"a", "b", "c", "d"}, Peers: f.peer,
	}
	if change != nil {
		change(&options)
	}
	node, err := shardgroup.Open(f.t.Context(), options, zaptest.NewLogger(f.t, zaptest.Level(zap.InfoLevel)).Named(name), prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[options.APIAddress] = node
	return node, nil
}

func (f *crew) start(name string, change func(*shardgroup.Options)) *shardgroup.Node {
	f.t.Helper()
	node, err := f.open(name, change)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := node.WaitReady(ctx); err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	return node
}

func (f *crew) stop(name string) {
	f.mu.Lock()
	node := f.nodes[name]
	f.nodes[name] = nil
	f.mu.Unlock()
	if node != nil {
		if err := node.Close(); err != nil {
			f.t.Errorf("%s: %v", name, err)
		}
	}
}

func (f *crew) hide(name string, hidden bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hidden[name] = hidden
}

// found starts waiting nodes and makes a cluster of them.
func (f *crew) found(names ...string) *clusterv1.RangeMap {
	f.t.Helper()
	layout := shardgroup.FoundingLayout{ClusterID: uuid.NewString(), Groups: 2, CreatedAt: time.Now().UnixNano()}
	for _, name := range names {
		node, err := f.open(name, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		layout.Nodes = append(layout.Nodes, f.hello(node).GetNode())
	}
	m, err := shardgroup.NewFounding(layout)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range names {
		if err := foundNode(f.t, f.node(name), m); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, name := range names {
		f.ready(f.node(name))
	}
	return m
}

func foundNode(t testing.TB, node *shardgroup.Node, m *clusterv1.RangeMap) error {
	_, err := node.Service().Found(t.Context(), &nodev1.FoundRequest{Map: m, NodeId: node.ID()})
	return err
}

func (f *crew) hello(node *shardgroup.Node) *nodev1.HelloResponse {
	f.t.Helper()
	answer, err := node.Service().Hello(f.t.Context(), &nodev1.HelloRequest{})
	if err != nil {
		f.t.Fatal(err)
	}
	return answer
}

func (f *crew) ready(node *shardgroup.Node) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := node.WaitReady(ctx); err != nil {
		f.t.Fatal(err)
	}
}

// copy copies the data directory of a node that is down.
func (f *crew) copy(from, to string) {
	f.t.Helper()
	if err := os.CopyFS(filepath.Join(f.dir, to), os.DirFS(filepath.Join(f.dir, from))); err != nil {
		f.t.Fatal(err)
	}
}

// add writes blocks at a node until each is acknowledged.
func (f *crew) add(node *shardgroup.Node, from, to int) []*metastorev1.BlockMeta {
	f.t.Helper()
	m := rangeMapSoon(f.t, node)
	var blocks []*metastorev1.BlockMeta
	for serial := from; serial < to; serial++ {
		block := testBlock(serial, "", uint32(serial%3), 0, "anna")
		retried(f.t, func() (*nodev1.AddBlockResponse, error) {
			return node.Service().AddBlock(f.t.Context(), addRequest(f.t, m, block))
		})
		blocks = append(blocks, block)
	}
	return blocks
}

// state asks the directory's leader, whoever it is.
func (f *crew) state() *nodev1.ClusterStateResponse {
	f.mu.Lock()
	nodes := slices.Collect(maps.Values(f.nodes))
	f.mu.Unlock()
	for _, node := range nodes {
		if node == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(f.t.Context(), time.Second)
		answer, err := node.Service().ClusterState(ctx, &nodev1.ClusterStateRequest{})
		cancel()
		if err == nil {
			return answer
		}
	}
	return nil
}

// operate has the directory's leader do something.
func (f *crew) operate(request *nodev1.OperateRequest) (*nodev1.OperateResponse, error) {
	f.t.Helper()
	if request.RequestId == nil {
		id := uuid.New()
		request.RequestId = id[:]
	}
	var answer *nodev1.OperateResponse
	var fault error
	await(f.t, "the directory's leader", func() bool {
		for _, name := range []string{"a", "b", "c", "d"} {
			node := f.node(name)
			if node == nil {
				continue
			}
			answer, fault = node.Service().Operate(f.t.Context(), request)
			if status.Code(fault) != codes.Unavailable {
				return true
			}
		}
		return false
	})
	return answer, fault
}

func (f *crew) setState(nodeID string, state clusterv1.NodeState) {
	f.t.Helper()
	_, err := f.operate(&nodev1.OperateRequest{Force: true, Action: &nodev1.OperateRequest_SetNodeState{
		SetNodeState: &raftlogv1.SetNodeState{NodeId: nodeID, State: state}}})
	if err != nil {
		f.t.Fatal(err)
	}
}

// awaitVoters waits until each group has just these voters and nobody else.
func (f *crew) awaitVoters(want int) *clusterv1.RangeMap {
	f.t.Helper()
	var m *clusterv1.RangeMap
	await(f.t, fmt.Sprintf("%d voters in each group", want), func() bool {
		m = f.state().GetMap()
		for _, group := range m.GetGroups() {
			if len(group.GetReplicas()) != want || len(group.Voters()) != want {
				return false
			}
		}
		return m != nil
	})
	return m
}

// writer adds blocks at any node without a pause; what was acknowledged must be
// found later.
type writer struct {
	f       *crew
	stop    chan struct{}
	done    sync.WaitGroup
	mu      sync.Mutex
	written []*metastorev1.BlockMeta
}

func (f *crew) write(names ...string) *writer {
	w := &writer{f: f, stop: make(chan struct{})}
	w.done.Go(func() {
		for serial := 0; ; serial++ {
			select {
			case <-w.stop:
				return
			default:
			}
			block := testBlock(serial, "", uint32(serial%3), 0, "anna")
			node := f.node(names[serial%len(names)])
			if node == nil {
				continue
			}
			answer, err := node.Service().RangeMap(f.t.Context(), &nodev1.RangeMapRequest{})
			if err != nil {
				continue
			}
			m, err := clusterv1.NewMap(answer.GetMap())
			if err != nil {
				f.t.Error(err)
				return
			}
			if _, err := node.Service().AddBlock(f.t.Context(), addRequest(f.t, m, block)); err == nil {
				w.mu.Lock()
				w.written = append(w.written, block)
				w.mu.Unlock()
			}
		}
	})
	return w
}

func (w *writer) end() []*metastorev1.BlockMeta {
	close(w.stop)
	w.done.Wait()
	return w.written
}

// A cluster grows from one node to three and shrinks back to one while blocks are
// written; each block is found at the end. The node that is left is not the one
// that began.
func TestGrowAndShrink(t *testing.T) {
	f := newCrew(t)
	a := f.start("a", func(o *shardgroup.Options) { o.Found = true })
	w := f.write("a", "b", "c")
	b := f.start("b", nil)
	if b.ClusterID() != a.ClusterID() {
		t.Fatal("another cluster")
	}
	f.start("c", nil)
	f.awaitVoters(3)
	f.setState(a.ID(), clusterv1.NodeState_NODE_STATE_DECOMMISSIONING)
	f.awaitVoters(2)
	await(t, "a to be removed", func() bool {
		return stateOf(f.state().GetMap(), a.ID()) == clusterv1.NodeState_NODE_STATE_REMOVED && len(a.Groups()) == 0
	})
	f.stop("a")
	f.setState(b.ID(), clusterv1.NodeState_NODE_STATE_DECOMMISSIONING)
	f.awaitVoters(1)
	await(t, "b to be empty", func() bool { return len(b.Groups()) == 0 })
	f.stop("b")
	written := w.end()
	if len(written) == 0 {
		t.Fatal("nothing was written")
	}
	c := f.node("c")
	wantBlocks(t, c, rangeMapSoon(t, c), written)
	t.Logf("%d blocks", len(written))
	// The removed node is refused for good.
	_, err := f.open("a", nil)
	wantRefusal(t, "a removed node", err, "was removed from the cluster")
}

func stateOf(m *clusterv1.RangeMap, nodeID string) clusterv1.NodeState {
	for _, node := range m.GetNodes() {
		if node.GetNodeId() == nodeID {
			return node.GetState()
		}
	}
	return 0
}

// wantRefusal wants an error that says why a data directory must not be used.
func wantRefusal(t testing.TB, what string, err error, why string) {
	t.Helper()
	if !errors.Is(err, shardgroup.ErrDataDir) || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: %v, want a refusal that says %q", what, err, why)
	}
}

// wantFault wants a node to end, and to say why.
func wantFault(t testing.TB, node *shardgroup.Node, why string) {
	t.Helper()
	select {
	case err := <-node.Failed():
		if !strings.Contains(err.Error(), why) {
			t.Errorf("the node ends: %v, want %q", err, why)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the node does not end: want %q", why)
	}
}
