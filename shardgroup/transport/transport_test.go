package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

func TestMessagesArrive(t *testing.T) {
	a, b := startPeer(t, peerOptions{}), startPeer(t, peerOptions{})
	l := a.messageLink(t, b.address)
	// Less and more than a piece, and than the buffer that is kept.
	sizes := []int{0, 100, pieceBytes, 3<<20 + 1, keepBytesMax + 1, 17}
	for i, size := range sizes {
		if err := l.SendMessageBatch(batchOf(uint64(i+1), size)); err != nil {
			t.Fatal(err)
		}
	}
	for i, size := range sizes {
		if got := receive(t, b.batches); !bytes.Equal(messagesFrame(got), messagesFrame(batchOf(uint64(i+1), size))) {
			t.Errorf("batch %d of %d bytes differs", i, size)
		}
	}
	if got := b.value(t, "received_frames_total", "messages"); got != float64(len(sizes)) {
		t.Errorf("received %v frames", got)
	}
	if sent, received := a.value(t, "sent_bytes_total", "messages"), b.value(t, "received_bytes_total", "messages"); sent != received || sent < keepBytesMax {
		t.Errorf("sent %v bytes, received %v", sent, received)
	}
	if in, out := b.value(t, "connections", "in"), a.value(t, "connections", "out"); in != 1 || out != 1 {
		t.Errorf("%v connections in, %v out", in, out)
	}
	l.Close()
	eventually(t, "no connections", func() bool { return b.value(t, "connections")+a.value(t, "connections") == 0 })
	if n := b.logs.Len() + a.logs.Len(); n != 0 {
		t.Errorf("an ordinary connection caused lines: %v %v", a.logs.All(), b.logs.All())
	}
}

func TestTooLargeToSend(t *testing.T) {
	a, b := startPeer(t, peerOptions{}), startPeer(t, peerOptions{})
	err := a.snapshotLink(t, b.address).SendChunk(raftpb.Chunk{Data: make([]byte, chunkBytesMax)})
	if !errors.Is(err, ErrFrame) || !strings.Contains(err.Error(), "at most 4194304") {
		t.Errorf("got %v", err)
	}
}

func chunksOf(n int) []raftpb.Chunk {
	var chunks []raftpb.Chunk
	for i := range n {
		chunks = append(chunks, raftpb.Chunk{
			ShardID: 3, ChunkId: uint64(i), ChunkCount: uint64(n), Data: bytes.Repeat([]byte{byte(i)}, 2<<20), DeploymentId: deployment,
		})
	}
	return chunks
}

// TestSnapshotIsSentWhenTaken: the last chunk returns only when the other side
// has dealt with it.
func TestSnapshotIsSentWhenTaken(t *testing.T) {
	last, mayTake := make(chan struct{}), make(chan struct{})
	a := startPeer(t, peerOptions{})
	b := startPeer(t, peerOptions{onChunk: func(chunk raftpb.Chunk) bool {
		if chunk.IsLastChunk() {
			close(last)
			<-mayTake
		}
		return true
	}})
	l, chunks := a.snapshotLink(t, b.address), chunksOf(3)
	sent := make(chan error, 1)
	go func() {
		for _, chunk := range chunks {
			if err := l.SendChunk(chunk); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	receive(t, last)
	select {
	case err := <-sent:
		t.Fatalf("returned %v before the snapshot was taken", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(mayTake)
	if err := receive(t, sent); err != nil {
		t.Fatal(err)
	}
	for i, want := range chunks {
		if got := receive(t, b.chunks); !bytes.Equal(got.Data, want.Data) || got.ChunkId != want.ChunkId {
			t.Errorf("chunk %d differs", i)
		}
	}
}

func TestSnapshotNotTaken(t *testing.T) {
	a := startPeer(t, peerOptions{timeouts: timeouts{ack: 50 * time.Millisecond}})
	t.Run("refused", func(t *testing.T) {
		b := startPeer(t, peerOptions{onChunk: func(chunk raftpb.Chunk) bool { return !chunk.IsLastChunk() }})
		l, chunks := a.snapshotLink(t, b.address), chunksOf(2)
		if err := l.SendChunk(chunks[0]); err != nil {
			t.Fatal(err)
		}
		if err := l.SendChunk(chunks[1]); err == nil {
			t.Error("a refused snapshot counts as sent")
		}
	})
	t.Run("not acknowledged", func(t *testing.T) {
		leave := make(chan struct{})
		b := startPeer(t, peerOptions{onChunk: func(raftpb.Chunk) bool { <-leave; return true }})
		defer close(leave)
		if err := a.snapshotLink(t, b.address).SendChunk(chunksOf(1)[0]); err == nil || !strings.Contains(err.Error(), "not acknowledged within 50ms") {
			t.Errorf("got %v", err)
		}
	})
}

func TestForeignClusterIsRefused(t *testing.T) {
	a, b := startPeer(t, peerOptions{deployment: 8}), startPeer(t, peerOptions{})
	_, err := a.GetConnection(t.Context(), b.address)
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "deployment id is 7, this node's 8") {
		t.Errorf("got %v", err)
	}
	b.logged(t, "belongs to another cluster")
	b.logged(t, "test.invalid:1 has deployment id 8, this node 7")
	if b.value(t, "refused_connections_total", "cluster") != 1 || a.value(t, "failed_dials_total") != 1 {
		t.Error("not counted")
	}
}

func TestOtherVersionIsRefused(t *testing.T) {
	b := startPeer(t, peerOptions{})
	greeting := hello{kind: messageKind, deployment: deployment}.append(nil)
	greeting[len(magic)+1] = 2
	conn := dialRaw(t, b.address, greeting)
	if err := readAnswer(conn, deployment); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v", err)
	}
	_ = conn.Close() // it waits for that, or its time
	b.logged(t, "release cannot speak")
	if b.value(t, "refused_connections_total", "version") != 1 {
		t.Error("not counted")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	whole := hello{kind: messageKind, deployment: deployment, address: "x"}.append(nil)
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-1] ^= 1
	long := bytes.Clone(whole)
	long[prefixBytes+10] = 0xff
	for name, greeting := range map[string][]byte{
		"http":         []byte("GET / HTTP/1.1\r\n\r\n"),
		"short":        []byte("hi\n"),
		"tls":          append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc}, make([]byte, 64)...),
		"damaged":      damaged,
		"long address": long,
		"unknown kind": hello{kind: 3, deployment: deployment}.append(nil),
	} {
		t.Run(name, func(t *testing.T) {
			b := startPeer(t, peerOptions{})
			conn := dialRaw(t, b.address, greeting)
			if name == "short" {
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			demandClosed(t, conn)
			b.logged(t, "not a Raft peer")
			if got := b.value(t, "refused_connections_total", "hello"); got != 1 {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// TestPortCheckIsQuiet: load balancers and operators look whether a port is open.
func TestPortCheckIsQuiet(t *testing.T) {
	b := startPeer(t, peerOptions{})
	conn := dialRaw(t, b.address, nil)
	eventually(t, "the connection", func() bool { return b.value(t, "connections", "in") == 1 })
	_ = conn.Close()
	eventually(t, "its end", func() bool { return b.value(t, "connections", "in") == 0 })
	if b.logs.Len() != 0 || b.value(t, "refused_connections_total") != 0 {
		t.Errorf("told: %v", b.logs.All())
	}
}

func frameOf(method method, payload []byte) []byte {
	conn := &memory{}
	w := frameWriter{conn: conn, piece: time.Second}
	if _, err := w.write(method, raw(payload), len(payload)); err != nil {
		panic(err)
	}
	return conn.written.Bytes()
}

type raw []byte

func (r raw) MarshalTo(to []byte) (int, error) { return copy(to, r), nil }

func messagesFrame(batch raftpb.MessageBatch) []byte {
	payload, err := batch.Marshal()
	if err != nil {
		panic(err)
	}
	return frameOf(messagesMethod, payload)
}

func TestBadFrames(t *testing.T) {
	flipped := func(at int) []byte {
		frame := messagesFrame(batchOf(1, 50))
		frame[(at+len(frame))%len(frame)] ^= 0x10
		return frame
	}
	tooLong := make([]byte, headerBytes)
	header{method: messagesMethod, bytes: messagesBytesMax + 1}.put(tooLong)
	longest := make([]byte, headerBytes)
	header{method: messagesMethod, bytes: 1<<32 - 1}.put(longest)
	empty := make([]byte, headerBytes)
	header{method: messagesMethod}.put(empty)
	for name, frame := range map[string][]byte{
		"garbage":         []byte(strings.Repeat("garbage!", 10)),
		"damaged mark":    flipped(0),
		"damaged length":  flipped(6),
		"damaged payload": flipped(-1),
		"too long":        tooLong,
		"longest":         longest,
		"empty":           empty,
		"chunk":           frameOf(chunkMethod, []byte{1}),
		"ack":             frameOf(ackMethod, nil),
		"no batch":        frameOf(messagesMethod, []byte("this is no batch")),
	} {
		t.Run(name, func(t *testing.T) {
			b := startPeer(t, peerOptions{})
			conn := greeted(t, b.address, messageKind)
			// What is right before arrives.
			if _, err := conn.Write(append(messagesFrame(batchOf(9, 1)), frame...)); err != nil {
				t.Fatal(err)
			}
			demandClosed(t, conn)
			b.logged(t, "damaged or not for this node")
			if got := b.value(t, "bad_frames_total"); got != 1 {
				t.Errorf("counted %v", got)
			}
			if got := receive(t, b.batches); got.Requests[0].ShardID != 9 {
				t.Errorf("got %+v", got)
			}
			if len(b.batches) != 0 {
				t.Error("the bad frame was handed on")
			}
		})
	}
}

// TestSlowCallers: a caller that says nothing, or stops half-way, is let go.
func TestSlowCallers(t *testing.T) {
	frame := messagesFrame(batchOf(1, 50))
	for name, stage := range map[string]struct {
		greet bool
		bytes []byte
	}{
		"silent":            {},
		"half a hello":      {bytes: []byte(magic)},
		"nothing after it":  {greet: true},
		"half a header":     {greet: true, bytes: frame[:headerBytes-1]},
		"half a payload":    {greet: true, bytes: frame[:len(frame)-1]},
		"dribbles a header": {greet: true, bytes: frame[:1]},
	} {
		t.Run(name, func(t *testing.T) {
			short := 50 * time.Millisecond
			limits := timeouts{handshake: short}
			if stage.greet {
				limits = timeouts{idle: short, piece: short}
			}
			b := startPeer(t, peerOptions{timeouts: limits})
			var conn net.Conn
			if stage.greet {
				conn = greeted(t, b.address, messageKind)
			} else {
				conn = dialRaw(t, b.address, nil)
			}
			if _, err := conn.Write(stage.bytes); err != nil {
				t.Fatal(err)
			}
			demandClosed(t, conn)
			eventually(t, "no connection", func() bool { return b.value(t, "connections", "in") == 0 })
		})
	}
}

func TestDialIsBounded(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	a := startPeer(t, peerOptions{timeouts: timeouts{dial: 50 * time.Millisecond}})
	if _, err := a.GetConnection(t.Context(), silent.Addr().String()); err == nil {
		t.Fatal("connected")
	}
	slow := startPeer(t, peerOptions{})
	failed := make(chan error, 1)
	go func() {
		_, err := slow.GetConnection(context.Background(), silent.Addr().String())
		failed <- err
	}()
	if conn, err := silent.Accept(); err != nil {
		t.Fatal(err)
	} else {
		defer conn.Close()
	}
	if err := slow.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, failed); err == nil {
		t.Error("connected")
	}
	if a.value(t, "failed_dials_total") != 1 {
		t.Error("not counted")
	}
}

func TestConnectionBound(t *testing.T) {
	a, b := startPeer(t, peerOptions{}), startPeer(t, peerOptions{Options: Options{ConnectionsMax: 2}})
	first := a.messageLink(t, b.address)
	a.messageLink(t, b.address)
	if _, err := a.GetConnection(t.Context(), b.address); err == nil {
		t.Fatal("the third of two connections was accepted")
	}
	b.logged(t, "too many are open")
	if got := b.value(t, "refused_connections_total", "limit"); got != 1 {
		t.Errorf("counted %v", got)
	}
	first.Close()
	eventually(t, "room", func() bool { return b.value(t, "connections", "in") == 1 })
	a.messageLink(t, b.address)
}

// TestPeerLeaves: what is sent after the peer left fails at once, so that
// dragonboat connects anew and nothing is sent into the void.
func TestPeerLeaves(t *testing.T) {
	a, b := startPeer(t, peerOptions{}), startPeer(t, peerOptions{})
	l := a.messageLink(t, b.address)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	receive(t, l.ctx.Done())
	if err := l.SendMessageBatch(batchOf(1, 1)); err == nil || !strings.Contains(err.Error(), "the other side left") {
		t.Errorf("got %v", err)
	}
	if got := a.value(t, "sent_frames_total"); got != 0 {
		t.Errorf("%v frames were sent", got)
	}
}

// TestHalfClose: a caller that closes its half only is let go, and so is a
// listener that does.
func TestHalfClose(t *testing.T) {
	b := startPeer(t, peerOptions{})
	conn := greeted(t, b.address, messageKind)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	demandClosed(t, conn)
	eventually(t, "no connection", func() bool { return b.value(t, "connections", "in") == 0 })

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = readHello(conn)
		_, _ = conn.Write(appendAnswer(nil, accepted, deployment))
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	}()
	l := b.messageLink(t, listener.Addr().String())
	receive(t, l.ctx.Done())
	receive(t, done)
}

func TestCloseEndsLinks(t *testing.T) {
	a, b := startPeer(t, peerOptions{}), startPeer(t, peerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	ended, err := a.connect(ctx, b.address, messageKind)
	if err != nil {
		t.Fatal(err)
	}
	defer ended.Close()
	cancel()
	receive(t, ended.done)
	l := a.messageLink(t, b.address)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.SendMessageBatch(batchOf(1, 1)); err == nil {
		t.Error("sent over a closed transport")
	}
	if _, err := a.GetConnection(t.Context(), b.address); err == nil {
		t.Error("connected from a closed transport")
	}
}

// TestCloseWaits: dragonboat frees what handlers use after Close.
func TestCloseWaits(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	a := startPeer(t, peerOptions{})
	b := startPeer(t, peerOptions{onBatch: func() { close(entered); <-leave }})
	if err := a.messageLink(t, b.address).SendMessageBatch(batchOf(1, 1)); err != nil {
		t.Fatal(err)
	}
	receive(t, entered)
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	select {
	case <-closed:
		t.Error("closed while a handler runs")
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	if err := receive(t, closed); err != nil {
		t.Error(err)
	}
}

func TestLocalIP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	from := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		_ = conn.Close()
		from <- host
	}()
	a := startPeer(t, peerOptions{Options: Options{LocalIP: netip.MustParseAddr("127.0.0.2")}})
	_, _ = a.GetConnection(t.Context(), listener.Addr().String()) // it hangs up
	if got := receive(t, from); got != "127.0.0.2" {
		t.Errorf("the call came from %s", got)
	}
}

func TestStartFails(t *testing.T) {
	b := startPeer(t, peerOptions{})
	for want, options := range map[string]Options{
		"cannot come from 192.0.2.1":     {ListenAddress: "127.0.0.1:0", LocalIP: netip.MustParseAddr("192.0.2.1")},
		"listen for Raft":                {ListenAddress: b.address},
		"duplicate metrics collector re": {ListenAddress: "127.0.0.1:0"},
	} {
		registry := prometheus.NewRegistry()
		if strings.HasPrefix(want, "duplicate") {
			registry = b.registry
		}
		factory, err := NewFactory(options, zap.NewNop(), registry)
		if err != nil {
			t.Fatal(err)
		}
		failing := newTransport(factory, options.ListenAddress, hello{}, nil, nil)
		if err := failing.Start(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err := failing.Close(); err != nil {
			t.Error(err)
		}
	}
	// Another transport's metrics are left alone.
	b.value(t, "connections")
}

func TestValidate(t *testing.T) {
	for want, options := range map[string]Options{
		`"nonsense" is not HOST:PORT`: {ListenAddress: "nonsense"},
		`no port from 0`:              {ListenAddress: "a:http"},
		"name one address":            {LocalIP: netip.IPv4Unspecified()},
		"must be positive":            {ConnectionsMax: -1},
	} {
		if _, err := NewFactory(options, zap.NewNop(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := (Options{}).Validate(); err != nil {
		t.Error(err)
	}
	factory := &Factory{}
	for address, want := range map[string]bool{
		"a:1": true, "10.0.0.1:65535": true, "[::1]:7000": true, "node-1.raft.svc:7000": true,
		"": false, "a": false, ":1": false, "a:0": false, "a:65536": false, "a:x": false, "::1:7000": false,
		strings.Repeat("a", addressBytesMax) + ":1": false,
	} {
		if got := factory.Validate(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// faults answers with what the test wants.
type faults struct {
	mu     sync.Mutex
	answer func(ctx context.Context, target string, traffic Traffic) error
}

func (f *faults) set(answer func(context.Context, string, Traffic) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *faults) Outgoing(ctx context.Context, target string, traffic Traffic) error {
	f.mu.Lock()
	answer := f.answer
	f.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, target, traffic)
}

func TestFaults(t *testing.T) {
	injected := &faults{}
	a, b := startPeer(t, peerOptions{Options: Options{Fault: injected}}), startPeer(t, peerOptions{})
	on := func(want Traffic, err error) func(context.Context, string, Traffic) error {
		return func(_ context.Context, target string, traffic Traffic) error {
			if traffic == want && target == b.address {
				return err
			}
			return nil
		}
	}
	broken := errors.New("broken")
	injected.set(on(Dial, ErrDrop))
	if _, err := a.GetConnection(t.Context(), b.address); !errors.Is(err, ErrDrop) {
		t.Errorf("got %v", err)
	}
	injected.set(nil)
	l, s := a.messageLink(t, b.address), a.snapshotLink(t, b.address)
	injected.set(on(Messages, ErrDrop))
	if err := l.SendMessageBatch(batchOf(1, 1)); err != nil {
		t.Error(err)
	}
	injected.set(on(Snapshot, ErrDrop))
	if err := s.SendChunk(chunksOf(1)[0]); err != nil {
		t.Error(err)
	}
	if err := l.SendMessageBatch(batchOf(2, 1)); err != nil {
		t.Error(err)
	}
	if got := receive(t, b.batches); got.Requests[0].ShardID != 2 {
		t.Errorf("the dropped batch came: %+v", got)
	}
	injected.set(on(Messages, broken))
	if err := l.SendMessageBatch(batchOf(3, 1)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	receive(t, l.done)
	// What is held up ends with the transport.
	injected.set(func(ctx context.Context, _ string, _ Traffic) error { <-ctx.Done(); return ctx.Err() })
	held := make(chan error, 1)
	go func() { held <- s.SendChunk(chunksOf(1)[0]) }()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, held); err == nil {
		t.Error("sent")
	}
}

// A dial that is given up as the other side hangs up ends with an error, and what ends
// its connection runs into nothing that has gone meanwhile.
func TestDialIsGivenUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p := startPeer(t, peerOptions{})
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if conn, err := silent.Accept(); err == nil {
				_ = conn.Close()
				cancel()
			}
		}()
		if _, conn, err := p.dial(ctx, silent.Addr().String(), messageKind); err == nil {
			_ = conn.Close()
			t.Fatal("connected to who says nothing")
		}
		cancel()
	}
}
