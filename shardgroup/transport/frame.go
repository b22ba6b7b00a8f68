package transport

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"time"
)

// After the handshake there are frames: a header and its payload.
//
//	mark 2, method 1, 0, payload length 4, CRC32C of the payload 4, CRC32C of the header 4
//
// The checksums are kept under TLS too: they also cover the way from memory to
// the socket, and cost little.
const (
	headerBytes        = 16
	mark        uint16 = 0x5b52

	// Dragonboat gathers messages up to 64 MiB, and sends a larger one alone: one of
	// a single Raft entry, or of entries of 64 MiB and what is around them.
	messagesBytesMax = 80 << 20
	// A chunk holds 2 MiB of a snapshot, and the group's membership.
	chunkBytesMax = 4 << 20

	// Payloads are read and written in pieces, each with a deadline. Memory is taken
	// as pieces come, not as the header promises.
	pieceBytes = 256 << 10
	// Buffers beyond are given back after use.
	keepBytesMax = 4 << 20
)

// ErrFrame means that what came is no frame: damaged, too large, or unexpected.
var ErrFrame = errors.New("bad frame")

type method byte

const (
	messagesMethod method = 1 // raftpb.MessageBatch
	chunkMethod    method = 2 // raftpb.Chunk
	ackMethod      method = 3 // no payload: all chunks so far were taken
)

func (m method) payloadBytesMax() int {
	switch m {
	case messagesMethod:
		return messagesBytesMax
	case chunkMethod:
		return chunkBytesMax
	default:
		return 0
	}
}

type header struct {
	method method
	bytes  int
	crc    uint32
}

// put writes the header into its place.
func (h header) put(to []byte) {
	binary.BigEndian.PutUint16(to, mark)
	to[2], to[3] = byte(h.method), 0
	binary.BigEndian.PutUint32(to[4:], uint32(h.bytes))
	binary.BigEndian.PutUint32(to[8:], h.crc)
	binary.BigEndian.PutUint32(to[12:], crc32.Checksum(to[:12], castagnoli))
}

// parseHeader checks all but the payload. Only one method is expected.
func parseHeader(from []byte, only method) (header, error) {
	if binary.BigEndian.Uint16(from) != mark {
		return header{}, fmt.Errorf("%w: it begins with %x", ErrFrame, from[:4])
	}
	if crc32.Checksum(from[:12], castagnoli) != binary.BigEndian.Uint32(from[12:]) {
		return header{}, fmt.Errorf("%w: its header is damaged", ErrFrame)
	}
	h := header{method: method(from[2]), crc: binary.BigEndian.Uint32(from[8:])}
	switch length := binary.BigEndian.Uint32(from[4:]); {
	case h.method != only || from[3] != 0:
		return header{}, fmt.Errorf("%w: its method (%d) is unexpected", ErrFrame, h.method)
	case uint64(length) > uint64(h.method.payloadBytesMax()):
		return header{}, fmt.Errorf("%w: its payload has %d bytes, at most %d are allowed", ErrFrame, length, h.method.payloadBytesMax())
	case length == 0 && h.method != ackMethod:
		return header{}, fmt.Errorf("%w: it is empty", ErrFrame)
	default:
		h.bytes = int(length)
	}
	return h, nil
}

// frameReader reads the frames of a connection. It belongs to one goroutine.
type frameReader struct {
	conn   net.Conn
	from   *bufio.Reader
	only   method
	idle   time.Duration // between frames; 0 for ever
	piece  time.Duration
	buffer []byte
}

func newFrameReader(conn net.Conn, only method, idle, piece time.Duration) *frameReader {
	return &frameReader{conn: conn, from: bufio.NewReaderSize(conn, 32<<10), only: only, idle: idle, piece: piece}
}

// next returns the next frame; its payload is valid until the next call. It fails
// with io.EOF if the other side closed the connection between two frames.
func (r *frameReader) next() (header, []byte, error) {
	var deadline time.Time
	if r.idle > 0 {
		deadline = time.Now().Add(r.idle)
	}
	if err := r.conn.SetReadDeadline(deadline); err != nil {
		return header{}, nil, err
	}
	if _, err := r.from.Peek(1); err != nil {
		return header{}, nil, err
	}
	var head [headerBytes]byte
	if err := r.fill(head[:]); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(head[:], r.only)
	if err != nil {
		return header{}, nil, err
	}
	if cap(r.buffer) > keepBytesMax {
		r.buffer = nil
	}
	payload := r.buffer[:0]
	for len(payload) < h.bytes {
		begin, n := len(payload), min(pieceBytes, h.bytes-len(payload))
		payload = slices.Grow(payload, n)[:begin+n]
		if err := r.fill(payload[begin:]); err != nil {
			return header{}, nil, err
		}
	}
	r.buffer = payload
	if crc32.Checksum(payload, castagnoli) != h.crc {
		return header{}, nil, fmt.Errorf("%w: its payload is damaged", ErrFrame)
	}
	return h, payload, nil
}

// fill reads one piece within its time.
func (r *frameReader) fill(piece []byte) error {
	if r.from.Buffered() < len(piece) {
		if err := r.conn.SetReadDeadline(time.Now().Add(r.piece)); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(r.from, piece)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frameWriter writes frames to a connection. It belongs to one goroutine.
type frameWriter struct {
	conn   net.Conn
	piece  time.Duration
	buffer []byte
}

// marshaler is a message of dragonboat.
type marshaler interface {
	MarshalTo([]byte) (int, error)
}

// write sends a frame and returns its bytes. sizeMax is at least the size of the
// message.
func (w *frameWriter) write(method method, message marshaler, sizeMax int) (int, error) {
	if cap(w.buffer) > keepBytesMax {
		w.buffer = nil
	}
	w.buffer = slices.Grow(w.buffer[:0], headerBytes+sizeMax)
	frame := w.buffer[:headerBytes+sizeMax]
	n := 0
	if message != nil {
		var err error
		if n, err = message.MarshalTo(frame[headerBytes:]); err != nil {
			return 0, err
		}
	}
	if n > method.payloadBytesMax() {
		return 0, fmt.Errorf("%w: its payload would have %d bytes, at most %d are allowed", ErrFrame, n, method.payloadBytesMax())
	}
	frame = frame[:headerBytes+n]
	header{method: method, bytes: n, crc: crc32.Checksum(frame[headerBytes:], castagnoli)}.put(frame)
	for piece := range slices.Chunk(frame, pieceBytes) {
		if err := w.conn.SetWriteDeadline(time.Now().Add(w.piece)); err != nil {
			return 0, err
		}
		if _, err := w.conn.Write(piece); err != nil {
			return 0, err
		}
	}
	return len(frame), nil
}
