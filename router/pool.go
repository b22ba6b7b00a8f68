package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// ErrPoolClosed tells that a pool gives no more clients.
var ErrPoolClosed = errors.New("the pool of connections is closed")

// unusedTime is how long an address may go without a call before its connection
// may make room for another.
const unusedTime = time.Minute

// PoolOptions configures the connections to nodes.
type PoolOptions struct {
	// TLS of the connections; nil for none. Without a ServerName in it, a node's
	// certificate must be good for the host of its address.
	TLS *tls.Config
	// Credentials go with every call; nil for none.
	Credentials credentials.PerRPCCredentials
	// Dial has more options, which win over those of the fields above: transport
	// credentials, say, that follow files.
	Dial []grpc.DialOption
	// LocalIP is where connections start from; nil lets the system choose.
	LocalIP net.IP
	// Tracing lets nodes hear of the traces that their calls belong to; nil for
	// none.
	Tracing trace.TracerProvider
	// MaxConnections bounds the addresses that are connected. Default 1,024.
	MaxConnections int
}

// Pool keeps one connection for each address of a node. It connects in the
// background, at the first call to an address, and again whenever that fails,
// once a second at least. It may be used from any number of goroutines.
type Pool struct {
	dial []grpc.DialOption
	max  int

	mu          sync.Mutex
	connections map[string]*connection
	closed      bool
}

// connection is one address of the pool.
type connection struct {
	channel *grpc.ClientConn
	client  nodev1.NodeServiceClient
	calls   atomic.Int64 // under way
	used    time.Time    // guarded by the pool's mu
}

// NewPool makes a pool without connections. Close it in the end.
func NewPool(options PoolOptions) (*Pool, error) {
	if options.MaxConnections < 0 {
		return nil, fmt.Errorf("%w: MaxConnections is %d, must not be negative", ErrOptions, options.MaxConnections)
	}
	orDefault(&options.MaxConnections, 1024)
	transport := insecure.NewCredentials()
	if options.TLS != nil {
		transport = credentials.NewTLS(options.TLS)
	}
	dialer := &net.Dialer{}
	if options.LocalIP != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: options.LocalIP}
	}
	dial := append(DialOptions(options.Tracing),
		grpc.WithTransportCredentials(transport),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
	)
	if options.Credentials != nil {
		dial = append(dial, grpc.WithPerRPCCredentials(options.Credentials))
	}
	dial = append(dial, options.Dial...)
	return &Pool{dial: dial, max: options.MaxConnections, connections: map[string]*connection{}}, nil
}

// Client returns the client of the node at an address, host and port. It does
// not wait for a connection; the calls do, within their deadlines, while the
// first attempt is under way, and fail at once with UNAVAILABLE if the last one
// failed. With all places taken by addresses in use it returns an error.
func (p *Pool) Client(address string) (nodev1.NodeServiceClient, error) {
	if address == "" {
		return nil, errors.New("connect to a node: it has no address")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrPoolClosed
	}
	now := time.Now()
	if c := p.connections[address]; c != nil {
		c.used = now
		return c.client, nil
	}
	if len(p.connections) >= p.max && !p.evict(now) {
		return nil, fmt.Errorf("connect to %s: all %d connections are in use", address, p.max)
	}
	c := &connection{used: now}
	// The dialer looks names up, each time anew.
	channel, err := grpc.NewClient("passthrough:///"+address, append(p.dial[:len(p.dial):len(p.dial)],
		grpc.WithChainUnaryInterceptor(c.unary), grpc.WithChainStreamInterceptor(c.stream))...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c.channel, c.client = channel, nodev1.NewNodeServiceClient(channel)
	p.connections[address] = c
	return c.client, nil
}

// evict closes the connection that was not asked for longest, if that is long
// ago and nothing runs on it. The caller holds mu.
func (p *Pool) evict(now time.Time) bool {
	oldest := ""
	for address, c := range p.connections {
		if c.unused(now) && (oldest == "" || c.used.Before(p.connections[oldest].used)) {
			oldest = address
		}
	}
	if oldest == "" {
		return false
	}
	p.drop(oldest)
	return true
}

// Retain closes connections to addresses that are not in use: not kept, not asked
// for in the last minute, and without calls.
func (p *Pool) Retain(keep func(address string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for address, c := range p.connections {
		if c.unused(now) && !keep(address) {
			p.drop(address)
		}
	}
}

// drop forgets a connection. The caller holds mu.
func (p *Pool) drop(address string) {
	// Fails only if it is closed already.
	_ = p.connections[address].channel.Close()
	delete(p.connections, address)
}

// Len returns the number of addresses that are kept.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.connections)
}

// Close ends all connections and the calls on them. It may be repeated.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for address := range p.connections {
		p.drop(address)
	}
}

func (c *connection) unused(now time.Time) bool {
	return c.calls.Load() == 0 && now.Sub(c.used) >= unusedTime
}

func (c *connection) unary(ctx context.Context, method string, in, out any, channel *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	c.calls.Add(1)
	defer c.calls.Add(-1)
	return invoke(ctx, method, in, out, channel, options...)
}

func (c *connection) stream(ctx context.Context, description *grpc.StreamDesc, channel *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, channel, method, options...)
	if err == nil {
		c.calls.Add(1)
		context.AfterFunc(stream.Context(), func() { c.calls.Add(-1) })
	}
	return stream, err
}

// Nodes finds nodes at the addresses of their records. The node of the same
// process, if there is one, is reached by its own client; the id is empty
// otherwise.
func (p *Pool) Nodes(ownID string, own nodev1.NodeServiceClient) Nodes {
	return pooledNodes{p, ownID, own}
}

type pooledNodes struct {
	pool  *Pool
	ownID string
	own   nodev1.NodeServiceClient
}

func (n pooledNodes) NodeClient(node *clusterv1.Node) (nodev1.NodeServiceClient, error) {
	if n.own != nil && node.GetNodeId() == n.ownID {
		return n.own, nil
	}
	return n.pool.Client(node.GetApiAddress())
}

func (n pooledNodes) home() (string, nodev1.NodeServiceClient) { return n.ownID, n.own }

// retain closes connections to nodes that left the map.
func (n pooledNodes) retain(m *clusterv1.Map) {
	addresses := map[string]bool{}
	for _, node := range m.Proto().GetNodes() {
		addresses[node.GetApiAddress()] = true
	}
	n.pool.Retain(func(address string) bool { return addresses[address] })
}

// Seeds are the nodes at some addresses, after those that come as clients (say,
// the node of the same process).
func (p *Pool) Seeds(addresses []string, first ...nodev1.NodeServiceClient) Seeds {
	return func() []nodev1.NodeServiceClient {
		clients := append([]nodev1.NodeServiceClient(nil), first...)
		for _, address := range addresses {
			// Without a client the others are asked.
			if client, err := p.Client(address); err == nil {
				clients = append(clients, client)
			}
		}
		return clients
	}
}
