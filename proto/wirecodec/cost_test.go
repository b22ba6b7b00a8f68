package wirecodec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

const mib = 1 << 20

// record encodes one field of variable length.
func record(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

// fill repeats a record up to a size.
func fill(record []byte, size int) []byte { return bytes.Repeat(record, size/len(record)) }

func unmarshal(data []byte, message proto.Message) error {
	return Codec{}.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, message)
}

// estimate does what unmarshal does before it decodes.
func estimate(data []byte, message proto.Message) error {
	return checkCost(data, layouts{}.of(message.ProtoReflect().Descriptor()))
}

// realBlocks returns blocks that a Pyroscope sent, encoded.
func realBlocks(t testing.TB, file string) (blocks [][]byte) {
	t.Helper()
	content, err := os.ReadFile("../testdata/blocks/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for len(content) > 0 {
		size := binary.BigEndian.Uint32(content)
		blocks = append(blocks, content[4:4+size])
		content = content[4+size:]
	}
	return blocks
}

// The largest messages that servers accept, full of real blocks.
func TestOrdinaryMessagesPass(t *testing.T) {
	for _, file := range []string{"L0.pb", "L2.pb"} {
		var blocks []byte
		big := &metastorev1.BlockMeta{}
		for _, encoded := range realBlocks(t, file) {
			blocks = append(blocks, record(1, encoded)...)
			block := &metastorev1.BlockMeta{}
			if err := block.UnmarshalVT(encoded); err != nil {
				t.Fatal(err)
			}
			big.Datasets = append(big.Datasets, block.GetDatasets()...)
			big.StringTable = append(big.StringTable, block.GetStringTable()...)
		}
		if err := estimate(fill(blocks, 100*mib), &metastorev1.QueryMetadataResponse{}); err != nil {
			t.Errorf("%s, many blocks: %v", file, err)
		}
		content, err := big.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if err := estimate(record(1, fill(content, 100*mib)), &metastorev1.AddBlockRequest{}); err != nil {
			t.Errorf("%s, one block: %v", file, err)
		}
		if err := unmarshal(fill(blocks, 5*mib), &metastorev1.QueryMetadataResponse{}); err != nil {
			t.Errorf("%s, decoded: %v", file, err)
		}
	}
	// Undecoded content costs what it weighs.
	long := record(1, record(11, bytes.Repeat([]byte("x"), 100*mib)))
	if err := unmarshal(long, &metastorev1.AddBlockRequest{}); err != nil {
		t.Errorf("a long string: %v", err)
	}
}

// Small on the wire, large in memory: refused before anything is allocated.
func TestCostlyMessagesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		data    []byte
		message proto.Message
	}{
		"empty datasets": {record(1, fill(record(10, nil), 10*mib)), &metastorev1.AddBlockRequest{}},
		"empty strings":  {record(1, fill(record(11, nil), 34*mib)), &metastorev1.AddBlockRequest{}},
		"empty blocks":   {fill(record(1, nil), 10*mib), &metastorev1.QueryMetadataResponse{}},
		"small offsets":  {record(1, record(10, record(5, make([]byte, 70*mib)))), &metastorev1.AddBlockRequest{}},
		"unpacked numbers": {
			record(1, record(10, fill(protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 1), 70*mib))), &metastorev1.AddBlockRequest{},
		},
		"empty labels": {fill(record(1, fill(record(1, nil), 100)), 20*mib), &metastorev1.QueryMetadataLabelsResponse{}},
		"no fast path": {fill(record(1, nil), 20*mib), &structpb.ListValue{}},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := unmarshal(test.data, test.message)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrTooCostly) {
				t.Errorf("got %v, want ErrTooCostly", err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > mib {
				t.Errorf("%d bytes were allocated to refuse it", used)
			}
		})
	}
}

// The estimate is what a decoded message takes: never much less, and no more
// than growing slices explain.
func TestEstimateIsTheCost(t *testing.T) {
	inBlock := func(b []byte) []byte { return record(1, b) }
	whole := func(b []byte) []byte { return b }
	for name, test := range map[string]struct {
		record []byte
		wrap   func([]byte) []byte
		target proto.Message
	}{
		"datasets":       {record(10, nil), inBlock, &metastorev1.AddBlockRequest{}},
		"empty strings":  {record(11, nil), inBlock, &metastorev1.AddBlockRequest{}},
		"strings":        {record(11, []byte("a service's name")), inBlock, &metastorev1.AddBlockRequest{}},
		"packed numbers": {[]byte{1, 2, 0x80, 1}, func(b []byte) []byte { return inBlock(record(10, record(5, b))) }, &metastorev1.AddBlockRequest{}},
		"numbers":        {protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 1), func(b []byte) []byte { return inBlock(record(10, b)) }, &metastorev1.AddBlockRequest{}},
		"labels":         {record(1, record(1, append(record(1, []byte("name")), record(2, []byte("value"))...))), whole, &metastorev1.QueryMetadataLabelsResponse{}},
		"unknown fields": {record(99, nil), inBlock, &metastorev1.AddBlockRequest{}},
	} {
		t.Run(name, func(t *testing.T) {
			data := test.wrap(fill(test.record, 2*mib))
			target := layouts{}.of(test.target.ProtoReflect().Descriptor())
			w := walk{left: MaxDecodedBytes}
			if err := w.message(data, target, 1); err != nil {
				t.Fatal(err)
			}
			estimated := MaxDecodedBytes - w.left + target.structBytes
			held := heap()
			if err := unmarshal(data, test.target); err != nil {
				t.Fatal(err)
			}
			held = heap() - held
			runtime.KeepAlive(test.target)
			runtime.KeepAlive(data)
			t.Logf("%d bytes take %d, estimated %d", len(data), held, estimated)
			if estimated < held*95/100 || estimated > held*5/2 {
				t.Errorf("%d bytes take %d, estimated %d", len(data), held, estimated)
			}
		})
	}
}

// heap returns the bytes in use, without pooled buffers, which two collections
// drop.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestCostOfMalformedMessages(t *testing.T) {
	start := record(1, record(11, bytes.Repeat([]byte("x"), 2*mib)))
	for name, end := range map[string][]byte{
		"tag":          {0x80},
		"field 0":      {0x00, 0x00},
		"length":       {0x0a, 0x05},
		"varint":       {0x10, 0x80},
		"end of group": {0x0c},
		"in a block":   record(1, []byte{0x0a, 0x05}),
		"in a dataset": record(1, record(10, []byte{0x0a, 0x05})),
	} {
		err := unmarshal(append(bytes.Clone(start), end...), &metastorev1.AddBlockRequest{})
		if err == nil || errors.Is(err, ErrTooCostly) {
			t.Errorf("%s: got %v, want a decode error", name, err)
		}
	}
}

func TestDeepMessagesAreRefused(t *testing.T) {
	deep := bytes.Repeat([]byte("x"), 2*mib)
	deep = record(3, deep) // string_value
	for range 100 {
		deep = record(6, record(1, deep)) // list_value, values
	}
	if err := unmarshal(deep, &structpb.Value{}); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("got %v, want a complaint about the nesting", err)
	}
}

// Packed elements of fixed size, maps, boxes of a oneof.
func TestCostOfOtherKinds(t *testing.T) {
	value := record(3, []byte("text"))
	entry := func(i byte) []byte { return append(record(1, []byte{'k', i}), record(2, value)...) }
	object := append(record(1, entry('a')), record(1, entry('b'))...)
	if err := unmarshal(fill(object, 2*mib), &structpb.Struct{}); err != nil {
		t.Error(err)
	}
	if err := unmarshal(fill(record(1, fill(record(1, nil), 100)), 2*mib), &typesv1.Labels{}); err != nil {
		t.Error(err)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	var blocks []byte
	for _, encoded := range realBlocks(b, "L1.pb") {
		blocks = append(blocks, record(1, encoded)...)
	}
	data := fill(blocks, 10*mib)
	for name, run := range map[string]func(proto.Message) error{
		"checked":   func(m proto.Message) error { return unmarshal(data, m) },
		"unchecked": func(m proto.Message) error { return decode(data, m) },
		"the check": func(m proto.Message) error { return estimate(data, m) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := run(&metastorev1.QueryMetadataResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
