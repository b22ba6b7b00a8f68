package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// GetConnection implements raftio.ITransport. The connection ends with the
// context.
func (t *Transport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	link, err := t.connect(ctx, target, messageKind)
	if err != nil {
		return nil, err
	}
	return &peerConnection{link: link, parent: ctx}, nil
}

// GetSnapshotConnection implements raftio.ITransport. The connection ends with
// the context.
func (t *Transport) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	return t.connect(ctx, target, snapshotKind)
}

func (t *Transport) connect(ctx context.Context, target string, k kind) (*link, error) {
	raw, conn, err := t.dial(ctx, target, k)
	if err != nil {
		t.metrics.failedDials.Inc()
		return nil, fmt.Errorf("connect to %s: %w", target, err)
	}
	if err := t.admit(outgoing, raw); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	l := &link{
		transport: t, target: target, kind: k, raw: raw, conn: conn,
		writer:  frameWriter{conn: conn, piece: t.timeouts.piece},
		repeats: repeats{within: max(0, t.timeouts.repeat)},
		acks:    make(chan struct{}, 1), done: make(chan struct{}),
	}
	l.gathered.flush = time.AfterFunc(time.Hour, l.flush)
	l.gathered.flush.Stop()
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.stop = context.AfterFunc(l.ctx, func() { _ = raw.Close() })
	go l.listen()
	return l, nil
}

// dial does the caller's part of the handshake, within its time.
func (t *Transport) dial(ctx context.Context, target string, k kind) (net.Conn, net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeouts.dial)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	if err := t.damage(ctx, target, Dial); err != nil {
		return nil, nil, err
	}
	dialer := net.Dialer{KeepAlive: -1} // see tune
	if ip := t.options.LocalIP; ip.IsValid() {
		dialer.LocalAddr = &net.TCPAddr{IP: ip.AsSlice(), Zone: ip.Zone()}
	}
	raw, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, nil, err
	}
	// Ends what waits for the other side. It may run on after dial has returned.
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, err := t.present(ctx, raw, target, k)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return raw, conn, nil
}

// present secures a connection and says hello.
func (t *Transport) present(ctx context.Context, raw net.Conn, target string, k kind) (net.Conn, error) {
	if err := t.tune(raw); err != nil {
		return nil, err
	}
	conn := raw
	config, err := t.options.clientTLS(target)
	if err != nil {
		return nil, err
	}
	if config != nil {
		secured := tls.Client(raw, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", errTLS, err)
		}
		conn = secured
	}
	self := t.self
	self.kind = k
	if _, err := conn.Write(self.append(nil)); err != nil {
		return nil, err
	}
	if err := readAnswer(conn, self.deployment); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it hung up instead of an answer: too many connections, or one side only uses TLS; its log tells: %w", err)
	} else if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return conn, nil
}

// damage asks the injected faults, if there are any.
func (t *Transport) damage(ctx context.Context, target string, traffic Traffic) error {
	if t.options.Fault == nil {
		return nil
	}
	return t.options.Fault.Outgoing(ctx, target, traffic)
}

// link is an outgoing connection. Its methods but Close are called by one
// goroutine at a time.
type link struct {
	transport *Transport
	target    string
	kind      kind
	raw, conn net.Conn // without and with TLS

	sending  sync.Mutex // what follows is used by the caller, and when gathering ends
	writer   frameWriter
	repeats  repeats // of messages
	gathered gathered

	ctx    context.Context // ends with the link; its cause says why
	cancel context.CancelCauseFunc
	stop   func() bool
	acks   chan struct{}
	done   chan struct{} // closed when listen returned
}

var (
	_ raftio.IConnection         = (*link)(nil)
	_ raftio.ISnapshotConnection = (*link)(nil)
)

// listen notices what the other side does: acknowledges, or closes. Without it a
// closed connection would be noticed at the second send, and the first be lost.
func (l *link) listen() {
	defer l.transport.dismiss(outgoing, l.raw)
	defer close(l.done)
	reader := newFrameReader(l.conn, ackMethod, 0, l.transport.timeouts.piece)
	for {
		_, _, err := reader.next()
		if err == nil && l.kind == messageKind {
			err = fmt.Errorf("%w: nothing is acknowledged here", ErrFrame)
		}
		if err != nil {
			l.fail(fmt.Errorf("the other side left: %w", err))
			return
		}
		select {
		case l.acks <- struct{}{}:
		default: // nobody waits for more than one
		}
	}
}

// fail ends the link for a reason; the first one counts.
func (l *link) fail(reason error) error {
	l.cancel(reason)
	_ = l.raw.Close() // may be closed already
	return fmt.Errorf("send to %s: %w", l.target, context.Cause(l.ctx))
}

// Close implements raftio.IConnection and raftio.ISnapshotConnection. What was
// sent still arrives, if the network lets it.
func (l *link) Close() {
	l.stop()
	l.gathered.flush.Stop()
	_ = l.conn.Close() // may be closed already
	l.cancel(ErrClosed)
	<-l.done
}

// SendMessageBatch implements raftio.IConnection. It drops large messages that
// were sent a moment ago, and lets heartbeats wait for others.
func (l *link) SendMessageBatch(batch raftpb.MessageBatch) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	if l.ctx.Err() == nil && l.gathered.hold(batch) {
		return nil
	}
	return l.sendBatch(l.gathered.with(batch))
}

// flush sends what was gathered. If that fails the link has ended, as the next batch
// finds out.
func (l *link) flush() {
	l.sending.Lock()
	defer l.sending.Unlock()
	if batch := l.gathered.with(raftpb.MessageBatch{}); len(batch.Requests) > 0 {
		_ = l.sendBatch(batch) // the link's cause says why
	}
}

func (l *link) sendBatch(batch raftpb.MessageBatch) error {
	requests, dropped := l.repeats.take(batch.Requests, time.Now())
	l.transport.metrics.repeats.Add(float64(dropped))
	if len(requests) == 0 {
		return nil
	}
	batch.Requests = requests
	sent, err := l.send(Messages, messagesMethod, &batch, batch.SizeUpperLimit())
	if sent {
		l.repeats.sent(requests, time.Now())
	} else {
		l.repeats.lost()
	}
	return err
}

// SendChunk implements raftio.ISnapshotConnection. The last chunk of a snapshot
// is sent when the other side has taken the whole snapshot.
func (l *link) SendChunk(chunk raftpb.Chunk) error {
	sent, err := l.send(Snapshot, chunkMethod, &chunk, chunk.Size())
	if err != nil || !sent || !chunk.IsLastChunk() {
		return err
	}
	timer := time.NewTimer(l.transport.timeouts.ack)
	defer timer.Stop()
	select {
	case <-l.acks:
		return nil
	case <-timer.C:
		return l.fail(fmt.Errorf("the snapshot was not acknowledged within %s", l.transport.timeouts.ack))
	case <-l.ctx.Done():
		return l.fail(fmt.Errorf("the snapshot was not taken: %w", context.Cause(l.ctx)))
	}
}

// send tells whether the frame was sent, not dropped by a fault.
func (l *link) send(traffic Traffic, method method, message marshaler, sizeMax int) (bool, error) {
	if err := l.transport.damage(l.ctx, l.target, traffic); errors.Is(err, ErrDrop) {
		return false, nil
	} else if err != nil {
		return false, l.fail(err)
	}
	if l.ctx.Err() != nil {
		return false, l.fail(ErrClosed)
	}
	n, err := l.writer.write(method, message, sizeMax)
	if err != nil {
		return false, l.fail(err)
	}
	l.transport.metrics.sent(l.kind, n)
	return true, nil
}
