package shardgroup_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/router"
	"github.com/skerrydb/skerry/shardgroup"
)

func openWith(t *testing.T, change func(*shardgroup.Options)) *shardgroup.Node {
	t.Helper()
	options := shardgroup.Options{
		DataDir: t.TempDir(), RaftAddress: freeAddress(t), Found: true, Groups: 1, RTT: 5 * time.Millisecond,
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
	}
	change(&options)
	node, err := openReady(t.Context(), options, zaptest.NewLogger(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, node) })
	return node
}

const dataGroup = clusterv1.DirectoryGroup + 1

func everything(m *clusterv1.Map) *nodev1.QueryRequest {
	request := &nodev1.QueryRequest{GroupId: dataGroup, Selector: "{}", EndTime: 1 << 62, Tenants: []string{historyTenant}, Labels: []string{"service_name"}}
	for _, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.Keyspace_KEYSPACE_STREAM} {
		for _, piece := range m.Cover(keyspace, 0, 0) {
			request.Ranges = append(request.Ranges, piece.Ref)
		}
	}
	return request
}

func TestOverloadIsRefusedAtOnce(t *testing.T) {
	node := openWith(t, func(o *shardgroup.Options) { o.MaxReads, o.MaxQueuedReads = 1, 1 })
	m := rangeMap(t, node)
	_, stop := node.HoldRounds(dataGroup)
	defer stop()
	var reads sync.WaitGroup
	for range 2 {
		reads.Go(func() {
			if _, err := node.Service().QueryBlocks(t.Context(), everything(m)); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, "two reads", func() bool { return node.ReadsInProgress() == 2 })
	_, err := node.Service().QueryBlocks(t.Context(), everything(m))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "try again later") {
		t.Errorf("got %v", err)
	}
	if details := status.Convert(err).Details(); len(details) != 1 || details[0].(*clusterv1.RouteError).GetReason() != clusterv1.RouteError_REASON_OVERLOADED {
		t.Errorf("got details %v", details)
	}
	// The way is still shown, and writes go on.
	rangeMap(t, node)
	if _, err := node.Service().AddBlock(t.Context(), addRequest(t, m, historyBlock(1))); err != nil {
		t.Error(err)
	}
	stop()
	reads.Wait()
}

func TestSlowQueriesAreRefused(t *testing.T) {
	node := openWith(t, func(o *shardgroup.Options) { o.QueryTimeout = time.Nanosecond })
	block := historyBlock(1)
	m := rangeMap(t, node)
	if _, err := node.Service().AddBlock(t.Context(), addRequest(t, m, block)); err != nil {
		t.Fatal(err)
	}
	_, err := node.Service().QueryBlocks(t.Context(), everything(m))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "longer than 1ns: narrow the time range or the selector") {
		t.Errorf("got %v", err)
	}
}

func serve(t *testing.T, server *grpc.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener) //nolint:errcheck // ends with the server
	return listener.Addr().String()
}

// routed serves the nodes of a cluster behind a router and returns its client.
func routed(t *testing.T, nodes map[string]*shardgroup.Node) metastorev1.MetadataQueryServiceClient {
	t.Helper()
	var seeds []nodev1.NodeServiceClient
	clients := directNodes{}
	for id, node := range nodes {
		clients[id] = router.Direct(node.Service())
		seeds = append(seeds, clients[id])
	}
	r, err := router.New(router.Options{}, clients, router.StaticSeeds(seeds...), zaptest.NewLogger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	options, err := router.ServerOptions(router.Options{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	r.RegisterPublic(server)
	address := serve(t, server)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		r.Close()
	})
	return metastorev1.NewMetadataQueryServiceClient(conn)
}

type directNodes map[string]nodev1.NodeServiceClient

func (d directNodes) NodeClient(node *clusterv1.Node) (nodev1.NodeServiceClient, error) {
	if client, ok := d[node.GetNodeId()]; ok {
		return client, nil
	}
	return nil, fmt.Errorf("no node %s", node.GetNodeId())
}

// A client that leaves ends the work of its queries on every replica, wherever
// they are: waiting for a round, waiting for a place, reading the store.
func TestCancellationEndsTheWork(t *testing.T) {
	node := openWith(t, func(o *shardgroup.Options) { o.MaxReads = 1 })
	m := rangeMap(t, node)
	var writers sync.WaitGroup
	for w := range uint64(16) {
		writers.Go(func() {
			for i := range uint64(100) {
				if _, err := node.Service().AddBlock(t.Context(), addRequest(t, m, historyBlock(100*w+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	client := routed(t, map[string]*shardgroup.Node{node.ID(): node})
	query := func(ctx context.Context) error {
		_, err := client.QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{TenantId: []string{historyTenant}, EndTime: 1 << 62, Query: "{}"})
		return err
	}
	if err := query(t.Context()); err != nil {
		t.Fatal(err)
	}
	const clients = 64
	for name, begun := range map[string]func() bool{
		"reading": func() bool { return node.ReadsInProgress() > clients/2 && node.ReadsWorking() == 1 },
		"waiting": func() bool { return node.ReadsInProgress() > 0 },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, clients)
		for range clients {
			go func() { ended <- query(ctx) }()
		}
		await(t, name, begun)
		cancel()
		cancelled := 0
		for range clients {
			switch err := <-ended; status.Code(err) {
			case codes.Canceled:
				cancelled++
			case codes.OK:
			default:
				t.Errorf("%s: %v", name, err)
			}
		}
		if cancelled == 0 {
			t.Errorf("%s: no query was cancelled", name)
		}
		await(t, "the end of the work", func() bool { return node.ReadsInProgress() == 0 })
	}
	// Replicas that wait for their leader.
	c := found(t, 3, 1, 50*time.Millisecond)
	nodes := map[string]*shardgroup.Node{}
	for _, node := range c.nodes {
		nodes[node.ID()] = node
		_, stop := node.HoldRounds(dataGroup)
		defer stop()
	}
	client = routed(t, nodes)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, clients)
	for range clients {
		go func() { ended <- query(ctx) }()
	}
	inProgress := func() (n int) {
		for _, node := range nodes {
			n += node.ReadsInProgress()
		}
		return n
	}
	await(t, "reads on the replicas", func() bool { return inProgress() == clients })
	cancel()
	for range clients {
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("held replicas: %v", err)
		}
	}
	await(t, "the end of the work", func() bool { return inProgress() == 0 })
}
