package transport

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	deployment = 7
	patience   = 20 * time.Second
)

// peer is a transport whose handlers tell what came.
type peer struct {
	*Transport
	address  string
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	batches  chan raftpb.MessageBatch
	chunks   chan raftpb.Chunk
	// Called first by the handlers, if set.
	onBatch func()
	onChunk func(raftpb.Chunk) bool
}

type peerOptions struct {
	Options
	deployment uint64
	timeouts   timeouts
	onBatch    func()
	onChunk    func(raftpb.Chunk) bool
}

func startPeer(t testing.TB, o peerOptions) *peer {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	p := &peer{
		registry: prometheus.NewRegistry(), logs: logs, onBatch: o.onBatch, onChunk: o.onChunk,
		batches: make(chan raftpb.MessageBatch, 64), chunks: make(chan raftpb.Chunk, 64),
	}
	if o.ListenAddress == "" {
		o.ListenAddress = "127.0.0.1:0"
	}
	if o.deployment == 0 {
		o.deployment = deployment
	}
	factory, err := NewFactory(o.Options, zap.New(core), p.registry)
	if err != nil {
		t.Fatal(err)
	}
	factory.timeouts = factory.timeouts.but(o.timeouts)
	p.Transport = factory.create(config.NodeHostConfig{RaftAddress: "test.invalid:1", DeploymentID: o.deployment}, p.handle, p.handleChunk)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.address = p.Addr().String()
	return p
}

// but returns the timeouts with those that are given.
func (t timeouts) but(given timeouts) timeouts {
	for _, pair := range []struct{ to, from *time.Duration }{
		{&t.dial, &given.dial}, {&t.handshake, &given.handshake}, {&t.piece, &given.piece},
		{&t.idle, &given.idle}, {&t.ack, &given.ack}, {&t.repeat, &given.repeat},
	} {
		if *pair.from != 0 {
			*pair.to = *pair.from
		}
	}
	return t
}

func (p *peer) handle(batch raftpb.MessageBatch) {
	if p.onBatch != nil {
		p.onBatch()
	}
	p.batches <- batch
}

func (p *peer) handleChunk(chunk raftpb.Chunk) bool {
	if p.onChunk != nil && !p.onChunk(chunk) {
		return false
	}
	p.chunks <- chunk
	return true
}

// value sums the series of a metric whose labels include the given values.
func (p *peer) value(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, family := range families {
		if family.GetName() != "skerry_raft_transport_"+name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if hasLabels(metric, labels) {
				found = true
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	if !found {
		t.Fatalf("no metric %s%v", name, labels)
	}
	return sum
}

func hasLabels(metric *dto.Metric, values []string) bool {
	for _, value := range values {
		found := false
		for _, label := range metric.GetLabel() {
			found = found || label.GetValue() == value
		}
		if !found {
			return false
		}
	}
	return true
}

// logged demands a line of at least the level of a warning.
func (p *peer) logged(t testing.TB, want string) {
	t.Helper()
	eventually(t, "a line: "+want, func() bool {
		for _, entry := range p.logs.All() {
			text := entry.Message
			for _, field := range entry.Context {
				if err, ok := field.Interface.(error); ok {
					text += ": " + err.Error()
				}
			}
			if entry.Level >= zapcore.WarnLevel && strings.Contains(text, want) {
				return true
			}
		}
		return false
	})
}

func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func (p *peer) messageLink(t testing.TB, target string) *link {
	t.Helper()
	l, err := p.connect(t.Context(), target, messageKind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func (p *peer) snapshotLink(t testing.TB, target string) *link {
	t.Helper()
	l, err := p.connect(t.Context(), target, snapshotKind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

var noise = func() []byte {
	content := make([]byte, keepBytesMax+1)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	return content
}()

func batchOf(id uint64, bytes int) raftpb.MessageBatch {
	return raftpb.MessageBatch{
		DeploymentId: deployment, SourceAddress: "a", BinVer: 1,
		Requests: []raftpb.Message{{Type: raftpb.Replicate, To: 1, From: 2, ShardID: id, Entries: []raftpb.Entry{{Index: id, Cmd: noise[:bytes]}}}},
	}
}

// dialRaw is a caller that does not keep to the protocol.
func dialRaw(t testing.TB, address string, first []byte) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(first); err != nil {
		t.Fatal(err)
	}
	return conn
}

// greeted is a raw caller whose hello was accepted.
func greeted(t testing.TB, address string, k kind) net.Conn {
	t.Helper()
	conn := dialRaw(t, address, hello{kind: k, deployment: deployment, address: "raw"}.append(nil))
	if err := readAnswer(conn, deployment); err != nil {
		t.Fatal(err)
	}
	return conn
}

// demandClosed waits until the other side closes.
func demandClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	buffer := make([]byte, 1024)
	for {
		if _, err := conn.Read(buffer); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Fatal("the connection was left open")
			}
			return
		}
	}
}
