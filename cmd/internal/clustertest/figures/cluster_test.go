package figures

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

var spreadPatience = flag.Duration("figures.spread", 2*time.Minute, "how long to wait at most until nodes lead about as many groups each")

const (
	startPatience = 5 * time.Minute
	stopPatience  = 2 * time.Minute
)

// node is a process with a node and a router.
type node struct {
	*clustertest.Process
	dir string
	// Addresses of the node API, the public API and HTTP.
	api, public, http string
	pid               int // of the life begun last by start
}

// newNode prepares a process on an address of its own; command is serve or node.
func newNode(t *testing.T, binary, dir, command string, number int, more ...string) *node {
	t.Helper()
	name := fmt.Sprintf("%s-%d", command, number)
	ports := freePorts(t, fmt.Sprintf("127.0.2.%d", 10+number), 4)
	n := &node{dir: filepath.Join(dir, "data", name), api: ports[0], public: ports[1], http: ports[2]}
	args := []string{
		command, "-data-dir", n.dir, "-node.address", n.api, "-grpc.address", n.public, "-http.address", n.http, "-raft.address", ports[3],
	}
	args = append(args, more...)
	n.Process = &clustertest.Process{
		Name: name, Path: binary, Args: append(args, strings.Fields(*moreArgs)...),
		LogPath: filepath.Join(dir, name+".log"), ReadyURL: "http://" + n.http + "/readyz",
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", n.Name, n.Tail(20))
		}
		must(t, n.Kill(), os.RemoveAll(n.dir))
	})
	return n
}

// freePorts are free now, on an address that nobody else is likely to use.
func freePorts(t *testing.T, host string, count int) []string {
	t.Helper()
	var addresses []string
	for range count {
		listener, err := net.Listen("tcp", host+":0")
		must(t, err)
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// start begins a life and does not wait until it is ready.
func (n *node) start(t *testing.T) {
	t.Helper()
	must(t, n.Start())
	var err error
	n.pid, err = childWith(n.dir)
	must(t, err)
}

func (n *node) awaitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	must(t, n.AwaitReady(ctx))
}

// client calls the node API.
func (n *node) client(t *testing.T) nodev1.NodeServiceClient {
	t.Helper()
	return nodev1.NewNodeServiceClient(dial(t, n.api))
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wirecodec.Codec{}), grpc.MaxCallRecvMsgSize(100<<20)),
		// A process that comes back is found at once.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1.1, MaxDelay: 20 * time.Millisecond}, MinConnectTimeout: time.Second,
		}))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// cluster is nodes that were founded together.
type cluster struct {
	binary, dir string
	nodes       []*node
	groups      int
}

// found starts three nodes and makes them a cluster. With streams 0 the command
// decides how many groups share the segments; the nodes get some more arguments.
func found(t *testing.T, binary, dir string, groups, streams int, more ...string) *cluster {
	t.Helper()
	c := &cluster{binary: binary, dir: dir, groups: groups}
	var addresses []string
	for i := range 3 {
		n := newNode(t, binary, dir, "node", i+1, more...)
		n.start(t)
		c.nodes, addresses = append(c.nodes, n), append(addresses, n.api)
	}
	c.command(t, "init", "-nodes", strings.Join(addresses, ","), "-groups", strconv.Itoa(groups), "-streams.groups", strconv.Itoa(streams),
		"-timeout", startPatience.String(), "-wait-timeout", startPatience.String())
	for _, n := range c.nodes {
		n.awaitReady(t)
	}
	return c
}

// command runs skerry and returns what it said.
func (c *cluster) command(t *testing.T, args ...string) string {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), c.binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("skerry %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return string(said)
}

// stop ends all processes.
func (c *cluster) stop(t *testing.T) {
	t.Helper()
	for _, n := range c.nodes {
		if n.Running() {
			must(t, n.Terminate(stopPatience))
		}
	}
}

func (c *cluster) scrape(t *testing.T) scrape {
	t.Helper()
	all, err := c.tryScrape(t.Context())
	must(t, err)
	return all
}

// tryScrape is for goroutines that must not end the test.
func (c *cluster) tryScrape(ctx context.Context) (scrape, error) {
	var all scrape
	for _, n := range c.nodes {
		if !n.Running() {
			continue
		}
		one, err := scrapeOne(ctx, "http://"+n.http+"/metrics")
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// cpu is what the running processes have used together.
func (c *cluster) cpu(t *testing.T) time.Duration {
	t.Helper()
	var total time.Duration
	for _, n := range c.nodes {
		if !n.Running() {
			continue
		}
		used, err := cpuTime(n.pid)
		must(t, err)
		total += used
	}
	return total
}

// led tells how many groups each running node leads, and whether each group has one
// leader.
func (c *cluster) led(t *testing.T) (led []int, complete bool) {
	t.Helper()
	total := 0
	for _, one := range c.scrape(t) {
		n := int(scrape{one}.sum("skerry_group_leader"))
		led, total = append(led, n), total+n
	}
	return led, total == c.groups+1 // and the directory
}

// awaitLeaders waits until each group has a leader.
func (c *cluster) awaitLeaders(t *testing.T) []int {
	t.Helper()
	deadline := time.Now().Add(startPatience)
	for {
		led, complete := c.led(t)
		if complete {
			return led
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d groups have %v leaders", c.groups+1, led)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// awaitSpread waits until the nodes lead about as many groups each, which a new
// cluster takes a while for; not for ever, since it is no condition of a
// measurement, but for comparing two.
func (c *cluster) awaitSpread(t *testing.T) []int {
	t.Helper()
	end := time.Now().Add(*spreadPatience)
	for {
		led := c.awaitLeaders(t)
		if slices.Max(led)-slices.Min(led) <= 1+c.groups/10 || time.Now().After(end) {
			return led
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// replicas is the state of a node's replicas, by group.
func replicas(ctx context.Context, client nodev1.NodeServiceClient) (map[uint64]*nodev1.GroupReplica, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := client.GroupStatus(ctx, &nodev1.GroupStatusRequest{})
	if err != nil {
		return nil, "", err
	}
	byGroup := map[uint64]*nodev1.GroupReplica{}
	for _, replica := range answer.GetReplicas() {
		byGroup[replica.GetGroupId()] = replica
	}
	return byGroup, answer.GetNodeId(), nil
}

// connections to the public APIs of some nodes, several to each.
func connections(t *testing.T, each int, nodes ...*node) []*grpc.ClientConn {
	t.Helper()
	var conns []*grpc.ClientConn
	for range each {
		for _, n := range nodes {
			conns = append(conns, dial(t, n.public))
		}
	}
	return conns
}

// index returns the public APIs of some nodes, each by several connections.
func index(t *testing.T, each int, nodes ...*node) []metastorev1.IndexServiceClient {
	t.Helper()
	var clients []metastorev1.IndexServiceClient
	for _, conn := range connections(t, each, nodes...) {
		clients = append(clients, metastorev1.NewIndexServiceClient(conn))
	}
	return clients
}
