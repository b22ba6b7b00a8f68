package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
	"go.uber.org/zap"
)

// serve works off an incoming connection until either side closes it.
func (t *Transport) serve(raw net.Conn) {
	log := t.log.With(zap.Stringer("from", raw.RemoteAddr()))
	conn, caller, err := t.welcome(raw)
	if err != nil {
		t.refuse(log, err)
		return
	}
	log = log.With(zap.String("node", caller.address), zap.Stringer("carries", caller.kind))
	log.Debug("a Raft connection is established")
	if caller.kind == messageKind {
		err = t.receiveMessages(conn)
	} else {
		err = t.receiveSnapshot(conn)
	}
	switch {
	case t.ctx.Err() != nil:
	case errors.Is(err, ErrFrame):
		t.metrics.badFrames.Inc()
		log.Error("closed a Raft connection: what came over it is damaged or not for this node; Raft sends it again", zap.Error(err))
	default:
		log.Debug("a Raft connection ended", zap.Error(err))
	}
}

var errTLS = errors.New("TLS failed")

// welcome does the listener's part of the handshake, within its time.
func (t *Transport) welcome(raw net.Conn) (net.Conn, hello, error) {
	ctx, cancel := context.WithTimeout(t.ctx, t.timeouts.handshake)
	defer cancel()
	if err := t.tune(raw); err != nil {
		return nil, hello{}, err
	}
	if err := raw.SetDeadline(time.Now().Add(t.timeouts.handshake)); err != nil {
		return nil, hello{}, err
	}
	conn := raw
	if t.options.ServerTLS != nil {
		secured := tls.Server(raw, t.options.ServerTLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			if errors.Is(err, io.EOF) {
				return nil, hello{}, err
			}
			return nil, hello{}, fmt.Errorf("%w: %w", errTLS, err)
		}
		conn = secured
	}
	caller, err := readHello(conn)
	if err == nil && caller.deployment != t.self.deployment {
		err = fmt.Errorf("%w: %s has deployment id %d, this node %d", ErrForeign, caller.address, caller.deployment, t.self.deployment)
	}
	answer := accepted
	switch {
	case errors.Is(err, ErrForeign):
		answer = otherCluster
	case errors.Is(err, ErrVersion):
		answer = otherVersion
	case err != nil:
		return nil, hello{}, err
	}
	if _, err := conn.Write(appendAnswer(nil, answer, t.self.deployment)); err != nil {
		return nil, hello{}, err
	}
	if err != nil {
		// The caller leaves when it has the answer. To close before, with bytes of its
		// hello unread, could take the answer away from it.
		_, _ = io.CopyN(io.Discard, conn, 2*addressBytesMax)
		return nil, hello{}, err
	}
	return conn, caller, conn.SetDeadline(time.Time{})
}

// refuse counts and tells why a connection was not established.
func (t *Transport) refuse(log *zap.Logger, err error) {
	reason, line := refusedHello, "refused a Raft connection: the caller is not a Raft peer"
	switch {
	case errors.Is(err, io.EOF):
		// It came and went: a check whether the port is open.
		log.Debug("a caller left before it said anything")
		return
	case t.ctx.Err() != nil:
		return
	case errors.Is(err, errTLS):
		reason, line = refusedTLS, "refused a Raft connection: TLS failed"
	case errors.Is(err, ErrForeign):
		reason, line = refusedCluster, "refused a Raft connection: the caller belongs to another cluster; check the addresses that its cluster is told"
	case errors.Is(err, ErrVersion):
		reason, line = refusedVersion, "refused a Raft connection: the caller's release cannot speak with this one"
	}
	t.metrics.refused.WithLabelValues(reason).Inc()
	log.Warn(line, zap.Error(err))
}

// receiveMessages hands batches on until the connection ends; the error says how.
func (t *Transport) receiveMessages(conn net.Conn) error {
	reader := newFrameReader(conn, messagesMethod, t.timeouts.idle, t.timeouts.piece)
	for {
		h, payload, err := reader.next()
		if err != nil {
			return err
		}
		var batch raftpb.MessageBatch
		if err := unmarshal(&batch, payload); err != nil {
			return err
		}
		t.metrics.received(messageKind, headerBytes+h.bytes)
		t.messages(batch)
	}
}

var errSnapshot = errors.New("the snapshot is not wanted")

// receiveSnapshot hands chunks on. The last of a snapshot is acknowledged when
// dragonboat has taken it; a snapshot that it does not take ends the connection.
func (t *Transport) receiveSnapshot(conn net.Conn) error {
	reader := newFrameReader(conn, chunkMethod, t.timeouts.idle, t.timeouts.piece)
	writer := frameWriter{conn: conn, piece: t.timeouts.piece}
	for {
		h, payload, err := reader.next()
		if err != nil {
			return err
		}
		var chunk raftpb.Chunk
		if err := unmarshal(&chunk, payload); err != nil {
			return err
		}
		t.metrics.received(snapshotKind, headerBytes+h.bytes)
		if !t.chunks(chunk) {
			return errSnapshot
		}
		if !chunk.IsLastChunk() {
			continue
		}
		if _, err := writer.write(ackMethod, nil, 0); err != nil {
			return err
		}
	}
}

// unmarshal turns whatever may be wrong with the bytes into an ErrFrame.
// Dragonboat's decoders were written for bytes that it encoded itself.
func unmarshal(message interface{ Unmarshal([]byte) error }, payload []byte) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: its payload cannot be decoded: %v", ErrFrame, fault)
		}
	}()
	if err := message.Unmarshal(payload); err != nil {
		return fmt.Errorf("%w: its payload cannot be decoded: %w", ErrFrame, err)
	}
	return nil
}
