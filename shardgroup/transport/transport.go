package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// ErrClosed means that the transport or the connection was closed.
var ErrClosed = errors.New("the Raft transport is closed")

// Transport is a node's end of the connections with its peers. All methods may be
// called concurrently.
type Transport struct {
	options    Options
	timeouts   timeouts
	log        *zap.Logger
	registerer prometheus.Registerer
	metrics    *metrics
	listen     string
	self       hello // without kind
	messages   raftio.MessageHandler
	chunks     raftio.ChunkHandler

	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil before Start
	// Open connections by direction. Each has a goroutine.
	open   map[string]map[net.Conn]struct{}
	closed bool
}

var _ raftio.ITransport = (*Transport)(nil)

func newTransport(f *Factory, listen string, self hello, messages raftio.MessageHandler, chunks raftio.ChunkHandler) *Transport {
	t := &Transport{
		options: f.options, timeouts: f.timeouts, log: f.log, registerer: f.registerer, metrics: newMetrics(),
		listen: listen, self: self, messages: messages, chunks: chunks,
		open: map[string]map[net.Conn]struct{}{incoming: {}, outgoing: {}},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Name implements raftio.ITransport.
func (t *Transport) Name() string {
	if t.options.ServerTLS != nil {
		return "skerry-tls"
	}
	return "skerry-tcp"
}

// Start implements raftio.ITransport: it listens. Close must follow, also after
// an error.
func (t *Transport) Start() error {
	if ip := t.options.LocalIP; ip.IsValid() {
		// Said now, not at each dial.
		probe, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
		if err != nil {
			return fmt.Errorf("connections to other nodes cannot come from %s: use an address of this host, or none: %w", ip, err)
		}
		if err := probe.Close(); err != nil {
			return err
		}
	}
	// Our keep-alive is set with the rest, in tune.
	listener, err := (&net.ListenConfig{KeepAlive: -1}).Listen(t.ctx, "tcp", t.listen)
	if err != nil {
		return fmt.Errorf("listen for Raft: %w", err)
	}
	if err := t.metrics.register(t.registerer); err != nil {
		return errors.Join(err, listener.Close())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.listener != nil {
		t.metrics.unregister(t.registerer)
		return errors.Join(ErrClosed, listener.Close())
	}
	t.listener = listener
	t.wg.Go(func() { t.accept(listener) })
	return nil
}

// Addr returns the address that the transport listens on, nil before Start.
func (t *Transport) Addr() net.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener == nil {
		return nil
	}
	return t.listener.Addr()
}

// Close implements raftio.ITransport: it closes all connections and returns when
// no handler runs any more.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		t.wg.Wait()
		return nil
	}
	t.closed = true
	t.cancel()
	var err error
	if t.listener != nil {
		err = t.listener.Close()
	}
	for _, conns := range t.open {
		for conn := range conns {
			_ = conn.Close() // some are closed already
		}
	}
	t.mu.Unlock()
	t.wg.Wait()
	if t.listener != nil {
		t.metrics.unregister(t.registerer)
	}
	return err
}

// admit counts a connection in, within the bound for incoming ones. Whoever
// admits runs a goroutine that ends when the connection is closed, and calls
// dismiss last.
func (t *Transport) admit(direction string, conn net.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	if direction == incoming && len(t.open[incoming]) >= t.options.ConnectionsMax {
		return errConnections
	}
	t.open[direction][conn] = struct{}{}
	t.metrics.connections.WithLabelValues(direction).Inc()
	t.wg.Add(1)
	return nil
}

var errConnections = errors.New("too many connections")

func (t *Transport) dismiss(direction string, conn net.Conn) {
	_ = conn.Close() // may be closed already
	t.mu.Lock()
	delete(t.open[direction], conn)
	t.mu.Unlock()
	t.metrics.connections.WithLabelValues(direction).Dec()
	t.wg.Done()
}

// tune makes the system notice dead peers.
func (t *Transport) tune(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	err := tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: t.timeouts.keepAlive, Interval: t.timeouts.keepAlive / 2, Count: 3})
	return errors.Join(err, limitUnacked(tcp, t.timeouts.unacked))
}

// accept takes connections until the transport is closed. Errors of accept (too
// many open files) pass.
func (t *Transport) accept(listener net.Listener) {
	const pauseMax = time.Second
	pause := 5 * time.Millisecond
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			t.log.Error("accepting Raft connections fails for the moment", zap.Error(err), zap.Duration("again_in", pause))
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, pauseMax)
			continue
		}
		pause = 5 * time.Millisecond
		if err := t.admit(incoming, conn); err != nil {
			if errors.Is(err, errConnections) {
				t.metrics.refused.WithLabelValues(refusedLimit).Inc()
				t.log.Warn("refused a Raft connection: too many are open", zap.Stringer("from", conn.RemoteAddr()), zap.Int("open", t.options.ConnectionsMax))
			}
			_ = conn.Close()
			continue
		}
		go func() {
			defer t.dismiss(incoming, conn)
			t.serve(conn)
		}()
	}
}
