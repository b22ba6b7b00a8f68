package router

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// nodeServer serves one node's API at an address, as a process of nodes does.
func nodeServer(t testing.TB, node nodev1.NodeServiceServer, more ...grpc.ServerOption) string {
	t.Helper()
	options, err := NodeServerOptions(nil, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, more...)...)
	nodev1.RegisterNodeServiceServer(server, node)
	return listen(t, server)
}

func newPool(t testing.TB, options PoolOptions) *Pool {
	t.Helper()
	p, err := NewPool(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// A router finds the nodes at the addresses of its own map, which it reads from
// an address; the node of its own process it calls directly.
func TestPoolServesARouter(t *testing.T) {
	c := newFakeCluster(t, 2, 1, 3)
	source := proto.Clone(c.truth.Proto()).(*clusterv1.RangeMap)
	for _, node := range source.Nodes[1:] {
		node.ApiAddress = nodeServer(t, &fakeNode{cluster: c, id: node.NodeId})
	}
	c.truth = newMap(t, source)
	pool := newPool(t, PoolOptions{})
	r, err := New(Options{}, pool.Nodes("n1", Direct(&fakeNode{cluster: c, id: "n1"})), pool.Seeds([]string{"127.0.0.1:1", source.Nodes[1].ApiAddress}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 60 {
		if err := readOf(t, r, i); err != nil {
			t.Fatal(err)
		}
	}
	if got := asked(c.calls("GetBlocks")); got["n1"] == 0 || got["n2"] == 0 || got["n3"] == 0 {
		t.Errorf("asked %v, want all three", got)
	}
	if pool.Len() != 3 {
		t.Errorf("%d connections, want two nodes and the dead seed", pool.Len())
	}
}

type whoCalls struct {
	nodev1.UnimplementedNodeServiceServer
	from net.Addr
}

func (n *whoCalls) Hello(ctx context.Context, _ *nodev1.HelloRequest) (*nodev1.HelloResponse, error) {
	p, _ := peer.FromContext(ctx)
	n.from = p.Addr
	return &nodev1.HelloResponse{}, nil
}

func (n *whoCalls) RangeMap(context.Context, *nodev1.RangeMapRequest) (*nodev1.RangeMapResponse, error) {
	panic("boom")
}

func hello(t testing.TB, p *Pool, address string) error {
	t.Helper()
	client, err := p.Client(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = client.Hello(ctx, &nodev1.HelloRequest{})
	return err
}

func TestPoolBindsToTheLocalAddress(t *testing.T) {
	node := &whoCalls{}
	address := nodeServer(t, node)
	if err := hello(t, newPool(t, PoolOptions{LocalIP: net.IPv4(127, 0, 0, 7)}), address); err != nil {
		t.Skipf("this system has no second loopback address: %v", err)
	}
	if got := node.from.(*net.TCPAddr).IP.String(); got != "127.0.0.7" {
		t.Errorf("calls come from %s", got)
	}
}

func TestPoolSpeaksTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	address := nodeServer(t, &whoCalls{}, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: certified.TLS.Certificates})))
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	if err := hello(t, newPool(t, PoolOptions{TLS: &tls.Config{RootCAs: roots}}), address); err != nil {
		t.Errorf("with the right roots: %v", err)
	}
	if err := hello(t, newPool(t, PoolOptions{TLS: &tls.Config{}}), address); status.Code(err) != codes.Unavailable {
		t.Errorf("with an unknown authority: %v", err)
	}
	if err := hello(t, newPool(t, PoolOptions{}), address); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: %v", err)
	}
}

// A node's panic costs the call, not the process.
func TestNodeServerSurvivesPanics(t *testing.T) {
	address := nodeServer(t, &whoCalls{})
	client, err := newPool(t, PoolOptions{}).Client(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RangeMap(t.Context(), &nodev1.RangeMapRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
}

// A node that restarts at the same address is found again at once, a second after
// it is up at the latest.
func TestPoolReconnects(t *testing.T) {
	options, err := NodeServerOptions(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(listener net.Listener) *grpc.Server {
		server := grpc.NewServer(options...)
		nodev1.RegisterNodeServiceServer(server, &whoCalls{})
		go func() { _ = server.Serve(listener) }()
		return server
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	pool := newPool(t, PoolOptions{})
	first := serve(listener)
	if err := hello(t, pool, address); err != nil {
		t.Fatal(err)
	}
	first.Stop()
	if err := hello(t, pool, address); status.Code(err) != codes.Unavailable {
		t.Fatalf("a stopped node answers %v", err)
	}
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	second := serve(listener)
	defer second.Stop()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if err := hello(t, pool, address); err == nil {
			return
		} else if time.Since(start) > 10*time.Second {
			t.Fatalf("not connected again: %v", err)
		}
	}
}

func TestPoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := newPool(t, PoolOptions{MaxConnections: 2})
		ask := func(address string) error {
			_, err := pool.Client(address)
			return err
		}
		for _, address := range []string{"a:1", "b:1", "a:1"} {
			if err := ask(address); err != nil {
				t.Fatal(err)
			}
		}
		if err := ask("c:1"); err == nil {
			t.Error("a third connection, though both are in use")
		}
		time.Sleep(unusedTime)
		pool.connections["a:1"].calls.Add(1)
		if err := ask("c:1"); err != nil || pool.connections["a:1"] == nil || pool.connections["b:1"] != nil {
			t.Errorf("%v: want the idle one's place, not the one's with a call", err)
		}
		// Nodes that left the map, unless they are talked to.
		time.Sleep(unusedTime)
		pool.Retain(func(string) bool { return false })
		if pool.Len() != 1 || pool.connections["a:1"] == nil {
			t.Errorf("%d connections kept, want the one with a call", pool.Len())
		}
		pool.Close()
		if err := ask("a:1"); !errors.Is(err, ErrPoolClosed) {
			t.Errorf("a closed pool says %v", err)
		}
	})
}
