package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// waitingNode is a node as init sees it.
type waitingNode struct {
	nodev1.UnimplementedNodeServiceServer
	address string

	mu     sync.Mutex
	hello  *nodev1.HelloResponse
	refuse error         // of Found
	slow   time.Duration // of Found
	founds int
}

func (n *waitingNode) Hello(context.Context, *nodev1.HelloRequest) (*nodev1.HelloResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return proto.CloneOf(n.hello), nil
}

func (n *waitingNode) Found(ctx context.Context, request *nodev1.FoundRequest) (*nodev1.FoundResponse, error) {
	select {
	case <-time.After(n.slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil {
		return nil, n.refuse
	}
	if request.GetNodeId() != n.hello.GetNode().GetNodeId() {
		return nil, status.Error(codes.InvalidArgument, "meant another node")
	}
	if n.hello.ClusterId != "" && !proto.Equal(n.hello.Founding, request.GetMap()) {
		return nil, status.Error(codes.FailedPrecondition, "has another cluster")
	}
	n.founds++
	n.hello.ClusterId, n.hello.Founding = request.GetMap().GetCluster().GetClusterId(), request.GetMap()
	n.hello.Nodes = request.GetMap().GetNodes()
	return &nodev1.FoundResponse{}, nil
}

func startWaitingNode(t *testing.T, change func(*clusterv1.Node)) *waitingNode {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	n := &waitingNode{address: address, hello: &nodev1.HelloResponse{Phase: "waiting", Node: &clusterv1.Node{
		NodeId: uuid.NewString(), ApiAddress: address, RaftAddress: "127.0.0.1:1" + address[len("127.0.0.1:"):],
	}}}
	if change != nil {
		change(n.hello.Node)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(wirecodec.Codec{}))
	nodev1.RegisterNodeServiceServer(server, n)
	healthv1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener) //nolint:errcheck // ends with the server
	t.Cleanup(server.Stop)
	return n
}

func startWaitingNodes(t *testing.T, count int) []*waitingNode {
	t.Helper()
	nodes := make([]*waitingNode, count)
	for i := range nodes {
		nodes[i] = startWaitingNode(t, func(n *clusterv1.Node) { n.Zone = fmt.Sprintf("zone-%d", i) })
	}
	return nodes
}

func addressesOf(nodes []*waitingNode) string {
	all := make([]string, len(nodes))
	for i, n := range nodes {
		all[i] = n.address
	}
	return strings.Join(all, ",")
}

// runInit returns the exit code and what was said.
func runInit(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), streams{in: strings.NewReader(""), out: &out, err: &errs, env: func(string) (string, bool) { return "", false }}, append([]string{"init"}, args...))
	return code, out.String(), errs.String()
}

func TestInitFounds(t *testing.T) {
	nodes := startWaitingNodes(t, 3)
	code, out, errs := runInit(t, "-nodes", addressesOf(nodes), "-groups", "8")
	if code != exitOK {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	for _, want := range []string{"in zone zone-1", ": 3 nodes, 8 data groups of 3 replicas\n", nodes[2].address + " serves\n", "-join " + addressesOf(nodes)} {
		if !strings.Contains(out, want) {
			t.Errorf("%s\nlacks %q", out, want)
		}
	}
	m := nodes[0].hello.GetFounding()
	if err := clusterv1.CheckDirectory(m); err != nil {
		t.Error(err)
	}
	for _, n := range nodes {
		if n.founds != 1 || !proto.Equal(n.hello.GetFounding(), m) {
			t.Errorf("%s was founded %d times, with %v", n.address, n.founds, n.hello.GetFounding().GetCluster())
		}
	}
	if streams := len(m.GetRanges()) - 8; streams != 2 || m.GetCluster().GetSettings() != nil {
		t.Errorf("%d stream groups, settings %v", streams, m.GetCluster().GetSettings())
	}
	// A second time nothing happens; with another set it is refused.
	code, out, errs = runInit(t, "-nodes", addressesOf([]*waitingNode{nodes[2], nodes[0], nodes[1]}))
	if code != exitOK || !strings.Contains(out, "already cluster "+m.GetCluster().GetClusterId()) {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	late := startWaitingNode(t, nil)
	for _, test := range []struct {
		nodes []*waitingNode
		want  string
	}{
		{nodes[:1], "was founded with more nodes than were given: "},
		{[]*waitingNode{nodes[0], nodes[1], late}, late.address + " is not one of the nodes it was founded with: start that one with -join instead"},
		{append(slices.Clone(nodes), late, startWaitingNode(t, nil)), "start that one with -join instead"},
	} {
		code, _, errs := runInit(t, "-nodes", addressesOf(test.nodes))
		if code != exitFailure || !strings.Contains(errs, test.want) {
			t.Errorf("exit %d, %q lacks %q", code, errs, test.want)
		}
	}
	if late.founds != 0 || nodes[0].founds != 1 {
		t.Error("a refusal changed something")
	}
}

// A founding that was interrupted goes on with the map that it began with.
func TestInitGoesOn(t *testing.T) {
	nodes := startWaitingNodes(t, 3)
	nodes[2].refuse = status.Error(codes.Internal, "the disk is full")
	code, _, errs := runInit(t, "-nodes", addressesOf(nodes), "-groups", "2")
	if code != exitFailure || !strings.Contains(errs, nodes[2].address+" refuses Found: INTERNAL: the disk is full; the founding is not complete: repeat this command") {
		t.Fatalf("exit %d, %s", code, errs)
	}
	m := nodes[0].hello.GetFounding()
	nodes[2].refuse = nil
	// Its data folder was replaced meanwhile: it is another node.
	own := nodes[2].hello.Node.NodeId
	nodes[2].hello.Node.NodeId = uuid.NewString()
	code, _, errs = runInit(t, "-nodes", addressesOf(nodes))
	if code != exitFailure || !strings.Contains(errs, "was founded with node "+own+" there: its data folder was lost or replaced") {
		t.Fatalf("exit %d, %s", code, errs)
	}
	nodes[2].hello.Node.NodeId = own
	code, out, errs := runInit(t, "-nodes", addressesOf(nodes), "-groups", "7")
	if code != exitOK || !strings.Contains(out, "going on with the founding of cluster "+m.GetCluster().GetClusterId()+": 3 nodes, 2 data groups") {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	if !proto.Equal(nodes[2].hello.GetFounding(), m) || nodes[0].founds != 1 {
		t.Error("the founding did not go on with its map")
	}
}

func TestInitRefusals(t *testing.T) {
	of := func(cluster string, known ...*waitingNode) func(*waitingNode) {
		return func(n *waitingNode) {
			n.hello.ClusterId = cluster
			for _, k := range append(known, n) {
				n.hello.Nodes = append(n.hello.Nodes, proto.CloneOf(k.hello.Node))
			}
		}
	}
	for name, test := range map[string]struct {
		change func(nodes []*waitingNode)
		want   string
	}{
		"another cluster": {func(n []*waitingNode) { of("one")(n[0]); of("two")(n[2]) },
			"the nodes belong to different clusters, nothing was changed"},
		"cluster of one": {func(n []*waitingNode) { of("one")(n[0]) },
			" is not one of the nodes it has: start that one with -join instead"},
		"joined already": {func(n []*waitingNode) { of("one", n[1], n[2])(n[0]) },
			"cluster one exists: start "},
		"same Raft address": {func(n []*waitingNode) { n[1].hello.Node.RaftAddress = n[0].hello.Node.RaftAddress },
			"both tell others that their Raft address is"},
		"same node address": {func(n []*waitingNode) { n[1].hello.Node.ApiAddress = n[0].hello.Node.ApiAddress },
			"both tell others that their address is"},
		"copied folder": {func(n []*waitingNode) { n[1].hello.Node.NodeId = n[0].hello.Node.NodeId },
			"none copied from another"},
		"no identity":     {func(n []*waitingNode) { n[1].hello.Node = nil }, "does not say who it is"},
		"a newer release": {func(n []*waitingNode) { n[1].hello.Node.MinFormat = 9 }, "install the same release everywhere"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := startWaitingNodes(t, 3)
			test.change(nodes)
			code, _, errs := runInit(t, "-nodes", addressesOf(nodes))
			if code != exitFailure || !strings.Contains(errs, test.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit %d, %q lacks %q", code, errs, test.want)
			}
			for _, n := range nodes {
				if n.founds != 0 {
					t.Error("something was founded")
				}
			}
		})
	}
	// A cluster that exists, of which no founding map is left.
	nodes := startWaitingNodes(t, 3)
	for _, n := range nodes {
		of("one", nodes...)(n)
	}
	if code, out, errs := runInit(t, "-nodes", addressesOf(nodes)); code != exitOK || !strings.Contains(out, "already cluster one") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

func TestInitUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":                                 "-nodes is missing",
		"-nodes a:1,b:2":                   "a cluster is founded with 1, 3 or 5 nodes",
		"-nodes a:1,b:2,c:3,d,e,f":         "a cluster is founded with 1, 3 or 5 nodes",
		"-nodes a:1,b:2,a:1":               "a:1 was given twice",
		"-nodes a":                         `"a": want HOST:PORT`,
		"-nodes a:1 -groups 0":             "-groups is 0",
		"-nodes a:1 -streams.groups 9":     "-streams.groups is 9: want 0 to 4",
		"-nodes a:1 -replication-factor 2": "-replication-factor is 2: want 1, 3 or 5",
		"-nodes a:1 -timeout 0s":           "want more than 0",
		"-nodes a:1 b:2":                   `unexpected argument "b:2"`,
	} {
		if code, _, errs := runInit(t, strings.Fields(args)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %q lacks %q", args, code, errs, want)
		}
	}
}

func TestInitReachesNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	code, _, errs := runInit(t, "-nodes", address, "-timeout", "300ms")
	if code != exitFailure || !strings.Contains(errs, "no node answers at "+address) || !strings.Contains(errs, "nothing was changed") {
		t.Errorf("exit %d, %s", code, errs)
	}
	router, stop, err := startFakeRouter()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	code, _, errs = runInit(t, "-nodes", router)
	if code != exitFailure || !strings.Contains(errs, "give the -node.address of a node") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// A node may take longer to found its part than to say who it is. One that does not
// come to an end is not one that is not there.
func TestInitOfABusyNode(t *testing.T) {
	busy := startWaitingNode(t, nil)
	busy.slow = time.Hour
	code, out, errs := runInit(t, "-nodes", busy.address, "-timeout", "10s", "-wait-timeout", "100ms")
	if want := busy.address + " has answered, but not yet to Found after 100ms"; code != exitFailure || !strings.Contains(errs, want) || !strings.Contains(errs, "repeat this command") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	slow := startWaitingNode(t, nil)
	slow.slow = 700 * time.Millisecond
	if code, out, errs := runInit(t, "-nodes", slow.address, "-timeout", "500ms", "-wait=false"); code != 0 {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

// Whatever is founded: each data group has as many replicas as wanted, in as many
// zones as there are, and nodes carry equally much.
func TestLayoutSpreads(t *testing.T) {
	for _, test := range []struct {
		zones       string // of each node
		factor      int
		replicas    int
		zonesOfEach int
	}{
		{"abc", 3, 3, 3}, {"aaa", 3, 3, 1}, {"abcde", 3, 3, 3}, {"aabbc", 3, 3, 3}, {"aaabb", 3, 3, 2}, {"abcde", 5, 5, 5}, {"a", 3, 1, 1}, {"abc", 1, 1, 1}, {"abc", 5, 3, 3},
	} {
		const groups = 20
		var nodes []*clusterv1.Node
		for _, zone := range test.zones {
			nodes = append(nodes, &clusterv1.Node{NodeId: uuid.NewString(), Zone: string(zone)})
		}
		zoneOf := map[string]string{}
		for _, node := range nodes {
			zoneOf[node.GetNodeId()] = node.GetZone()
		}
		m, err := layoutCluster(clusterv1.InitialLayout{ClusterID: uuid.NewString(), Node: nodes[0], Peers: nodes[1:], Groups: groups, StreamGroups: 1, CreatedAt: 1}, test.factor)
		if err != nil {
			t.Fatal(err)
		}
		load := map[string]int{}
		for _, group := range m.GetGroups() {
			if group.GetGroupId() == clusterv1.DirectoryGroup {
				if len(group.GetReplicas()) != len(nodes) {
					t.Errorf("%+v: the directory has %d replicas", test, len(group.GetReplicas()))
				}
				continue
			}
			zones := map[string]bool{}
			for i, replica := range group.GetReplicas() {
				zones[zoneOf[replica.GetNodeId()]] = true
				load[replica.GetNodeId()]++
				if !proto.Equal(replica, group.GetFounders()[i]) {
					t.Errorf("%+v: founders differ", test)
				}
			}
			if len(group.GetReplicas()) != test.replicas || len(group.GetFounders()) != test.replicas || len(zones) != test.zonesOfEach {
				t.Errorf("%+v: group %d has %d replicas in %d zones", test, group.GetGroupId(), len(group.GetReplicas()), len(zones))
			}
		}
		least, most := groups, 0
		for _, n := range load {
			least, most = min(least, n), max(most, n)
		}
		if zonesEven := len(test.zones) == test.zonesOfEach || test.zonesOfEach == 1; zonesEven && most-least > 1 {
			t.Errorf("%+v: nodes have %d to %d groups", test, least, most)
		}
		if got := m.GetCluster().GetSettings().ReplicationFactorOrDefault(); got != test.factor {
			t.Errorf("%+v: the factor is %d", test, got)
		}
	}
}

// An interrupt ends a wait for nodes at once.
func TestInitIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	i := &initialization{pause: func(context.Context) error { cancel(); return context.Canceled }}
	i.client.timeout = 1 << 40
	err := i.persist(ctx, &peer{address: "a:1"}, "Hello", time.Hour, func(context.Context) error { cancel(); return status.Error(codes.Unavailable, "") })
	if !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
}
