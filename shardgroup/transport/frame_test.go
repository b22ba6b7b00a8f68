package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

// memory is a connection to nowhere.
type memory struct {
	net.Conn
	from    io.Reader
	written bytes.Buffer
}

func (m *memory) Read(to []byte) (int, error)      { return m.from.Read(to) }
func (m *memory) Write(from []byte) (int, error)   { return m.written.Write(from) }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }
func readerOf(content []byte, only method) *frameReader {
	return newFrameReader(&memory{from: bytes.NewReader(content)}, only, time.Second, time.Second)
}

// TestPromisesTakeNoMemory: a header may promise much; memory is taken for what
// comes.
func TestPromisesTakeNoMemory(t *testing.T) {
	frame := make([]byte, headerBytes+10)
	header{method: messagesMethod, bytes: messagesBytesMax}.put(frame)
	reader := readerOf(frame, messagesMethod)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := reader.next()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 4*pieceBytes {
		t.Errorf("took %d bytes for 10", taken)
	}
}

func TestLargeBuffersAreGivenBack(t *testing.T) {
	stream := append(frameOf(messagesMethod, make([]byte, keepBytesMax+1)), frameOf(messagesMethod, []byte{1})...)
	reader := readerOf(stream, messagesMethod)
	for range 2 {
		if _, _, err := reader.next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := reader.next(); err != io.EOF {
		t.Errorf("got %v", err)
	}
	if got := cap(reader.buffer); got > keepBytesMax {
		t.Errorf("%d bytes are kept", got)
	}
}

// FuzzIncoming feeds what a caller may send to all that reads it.
func FuzzIncoming(f *testing.F) {
	chunk := chunksOf(1)[0]
	chunk.Data = []byte("data")
	payload, err := chunk.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	greeting := hello{kind: messageKind, deployment: deployment, address: "a:1"}.append(nil)
	f.Add(append(bytes.Clone(greeting), messagesFrame(batchOf(1, 10))...), []byte{})
	f.Add(append(bytes.Clone(greeting), frameOf(chunkMethod, payload)...), payload)
	f.Add(appendAnswer(nil, otherCluster, 1), []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, stream, payload []byte) {
		_ = readAnswer(bytes.NewReader(stream), deployment)
		from := bytes.NewReader(stream)
		caller, err := readHello(from)
		if err == nil {
			if again, err := readHello(bytes.NewReader(caller.append(nil))); err != nil || again != caller {
				t.Errorf("%+v became %+v, %v", caller, again, err)
			}
		}
		rest, _ := io.ReadAll(from)
		for _, only := range []method{messagesMethod, chunkMethod, ackMethod} {
			reader := readerOf(rest, only)
			for {
				h, got, err := reader.next()
				if err != nil {
					break
				}
				if h.bytes != len(got) || h.bytes > only.payloadBytesMax() {
					t.Fatalf("%+v with %d bytes", h, len(got))
				}
			}
		}
		// Checksums stop the fuzzer, not an enemy.
		for _, message := range []interface{ Unmarshal([]byte) error }{&raftpb.MessageBatch{}, &raftpb.Chunk{}} {
			if err := unmarshal(message, payload); err != nil && !errors.Is(err, ErrFrame) {
				t.Errorf("got %v", err)
			}
		}
	})
}
