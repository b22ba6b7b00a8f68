package metastorev1_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// DecodeBlock is UnmarshalVT: the same block, or the same error.
func FuzzDecodeBlock(f *testing.F) {
	for _, encoded := range realBlocks(f) {
		f.Add(encoded)
		f.Add(encoded[:len(encoded)/2])
		f.Add(append(encoded[:len(encoded):len(encoded)], encoded...))
	}
	add := func(parts ...[]byte) {
		var all []byte
		for _, part := range parts {
			all = append(all, part...)
		}
		f.Add(all)
	}
	number := func(field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), v)
	}
	text := func(field protowire.Number, v ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), v)
	}
	add(number(1, 1<<40), number(3, 1<<63), number(3, 7), text(2, 'a'), text(2, 'b'))
	add(text(11), text(11, 'x'), text(11, 0xff))
	add(text(10), text(10, text(8, 1, 2, 3)...), text(10, text(8)...), text(10, text(5, 0x80, 1, 5)...))
	add(text(10, append(text(8, 1), text(8, 2)...)...))                           // a list in two pieces
	add(text(10, append(text(8, 1, 0x80), number(1, 1)...)...))                   // whose last number goes on behind it
	add(text(10, append(number(8, 1), number(5, 2)...)...))                       // not packed
	add(text(10, append(number(7, 1), text(13, 2)...)...))                        // unknown
	add(number(20, 1), text(12, 1), number(11, 1), number(10, 1))                 // unknown, wrong types
	add([]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}) // all bits, and more
	add([]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	add(text(10, text(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)...))
	add([]byte{0x88, 0x00, 0x05}, []byte{0x0b}, []byte{0x0c}, []byte{0x00, 0x00})
	var decoder metastorev1.BlockDecoder
	f.Fuzz(func(t *testing.T, encoded []byte) {
		want := &metastorev1.BlockMeta{}
		wantErr := want.UnmarshalVT(encoded)
		for name, decode := range map[string]func([]byte) (*metastorev1.BlockMeta, error){"once": metastorev1.DecodeBlock, "again": decoder.Decode} {
			got, err := decode(encoded)
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				t.Fatalf("%s: %v, want %v", name, err, wantErr)
			}
			if err == nil && !proto.Equal(got, want) {
				t.Fatalf("%s: %v, want %v", name, got, want)
			}
		}
	})
}

// A block that is as it is written takes few allocations.
func TestDecodeBlockAllocations(t *testing.T) {
	encoded := realBlocks(t)[0]
	var decoder metastorev1.BlockDecoder
	for name, test := range map[string]struct {
		decode func([]byte) (*metastorev1.BlockMeta, error)
		most   float64
	}{"once": {metastorev1.DecodeBlock, 8}, "again": {decoder.Decode, 1}} {
		if got := testing.AllocsPerRun(100, func() {
			if _, err := test.decode(encoded); err != nil {
				t.Fatal(err)
			}
		}); got > test.most {
			t.Errorf("%s: %v allocations, want %v", name, got, test.most)
		}
	}
}

// realBlocks returns the first few of each level.
func realBlocks(t testing.TB) (blocks [][]byte) {
	t.Helper()
	for _, name := range []string{"L0.pb", "L1.pb", "L2.pb"} {
		rest, err := os.ReadFile(filepath.Join("../../testdata/blocks", name))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 5 && len(rest) > 0; n++ {
			size := binary.BigEndian.Uint32(rest)
			blocks, rest = append(blocks, rest[4:4+size]), rest[4+size:]
		}
	}
	return blocks
}

func BenchmarkDecodeBlock(b *testing.B) {
	encoded := realBlocks(b)[0]
	var decoder metastorev1.BlockDecoder
	for name, decode := range map[string]func() error{
		"vt":    func() error { return new(metastorev1.BlockMeta).UnmarshalVT(encoded) },
		"once":  func() error { _, err := metastorev1.DecodeBlock(encoded); return err },
		"again": func() error { _, err := decoder.Decode(encoded); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
