package blockobject_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const dataBytes = 128

// What a segment-writer of Pyroscope wrote after 128 bytes of data.
const written = `
0801121a30314a474a46475234383057
33474531523730573347453152372003
30809ae1a7c2323888c1e1a7c2324001
52250802100318809ae1a7c2322088c1
e1a7c2322a0300283c3064420a020403
05060204030507521c080218809ae1a7
c2322088c1e1a7c2322a0164301c4203
01080948015a005a0473772d305a0461
636d655a08636865636b6f75745a0c73
6572766963655f6e616d655a105f5f70
726f66696c655f747970655f5f5a0363
70755a036d656d5a125f5f74656e616e
745f646174617365745f5f5a12646174
617365745f747364625f696e64657860
8001
000000e2
0a058ef7`

var segment = &metastorev1.BlockMeta{
	FormatVersion: 1, Id: "01JGJFGR480W3GE1R70W3GE1R7", Shard: 3, CreatedBy: 1,
	MinTime: 1735787040000, MaxTime: 1735787045000, MetadataOffset: dataBytes,
	Datasets: []*metastorev1.Dataset{
		{
			Tenant: 2, Name: 3, MinTime: 1735787040000, MaxTime: 1735787045000,
			TableOfContents: []uint64{0, 40, 60}, Size: 100, Labels: []int32{2, 4, 3, 5, 6, 2, 4, 3, 5, 7},
		},
		{
			Tenant: 2, MinTime: 1735787040000, MaxTime: 1735787045000,
			TableOfContents: []uint64{100}, Size: 28, Labels: []int32{1, 8, 9}, Format: 1,
		},
	},
	StringTable: []string{"", "sw-0", "acme", "checkout", "service_name", "__profile_type__", "cpu", "mem", "__tenant_dataset__", "dataset_tsdb_index"},
}

func footerBytes(t *testing.T) []byte {
	t.Helper()
	footer, err := hex.DecodeString(strings.ReplaceAll(written, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return footer
}

func TestFooterIsPyroscopes(t *testing.T) {
	for name, test := range map[string]struct {
		block  *metastorev1.BlockMeta
		footer []byte
	}{
		"segment":  {segment, footerBytes(t)},
		"smallest": {&metastorev1.BlockMeta{FormatVersion: 1, Id: "01JGJ6J3X8000000000000000A", StringTable: []string{""}}, unhex(t, "0801121a30314a474a364a335838303030303030303030303030303030415a0000000020a6820dd9")},
	} {
		t.Run(name, func(t *testing.T) {
			given := clone(test.block)
			given.Size = 12345 // is not written
			got, err := blockobject.Encode(given)
			if err != nil || !bytes.Equal(got, test.footer) {
				t.Errorf("encoded %x, %v, want %x", got, err, test.footer)
			}
			for _, before := range []int{0, 1, dataBytes} {
				block, err := blockobject.Decode(append(make([]byte, before), test.footer...))
				if err != nil || !proto.Equal(block, test.block) {
					t.Errorf("after %d bytes: decoded %v, %v", before, block, err)
				}
			}
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamagedFootersAreRefused(t *testing.T) {
	footer := footerBytes(t)
	for at := range footer {
		damaged := bytes.Clone(footer)
		damaged[at] ^= 0x10
		if block, err := blockobject.Decode(damaged); !errors.Is(err, blockobject.ErrFooter) {
			t.Errorf("byte %d damaged: %v, %v", at, block, err)
		}
		if block, err := blockobject.Decode(footer[at+1:]); !errors.Is(err, blockobject.ErrFooter) {
			t.Errorf("from byte %d on: %v, %v", at+1, block, err)
		}
		if block, err := blockobject.Decode(footer[:at]); !errors.Is(err, blockobject.ErrFooter) {
			t.Errorf("up to byte %d: %v, %v", at, block, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("x"))
	f.Add([]byte("0\x00")) // a zero in full
	f.Add([]byte{8, 1, 0, 0, 0, 2, 0, 0, 0, 0})
	if footer, err := blockobject.Encode(segment); err == nil {
		f.Add(footer)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Anything with the right trailer, and anything without.
		if _, err := blockobject.Decode(raw); err != nil && !errors.Is(err, blockobject.ErrFooter) {
			t.Error(err)
		}
		trailed := binary.BigEndian.AppendUint32(raw, uint32(len(raw)))
		trailed = binary.BigEndian.AppendUint32(trailed, crc32.Checksum(trailed, crc32.MakeTable(crc32.Castagnoli)))
		block, err := blockobject.Decode(trailed)
		if err != nil {
			if !errors.Is(err, blockobject.ErrFooter) {
				t.Error(err)
			}
			return
		}
		if block.Size = 0; proto.Size(block) == 0 {
			return // no metadata at all is no footer
		}
		again, err := blockobject.Encode(block)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := blockobject.Decode(again); err != nil || !proto.Equal(back, block) {
			t.Errorf("%v came back as %v, %v", block, back, err)
		}
	})
}

// memory is a bucket of one object that notes what is read of it.
type memory struct {
	content []byte
	reads   []string
	// Called before each read.
	before func(m *memory)
}

func (m *memory) GetRange(_ context.Context, _ string, offset, length int64) ([]byte, int64, error) {
	if m.before != nil {
		m.before(m)
	}
	size := int64(len(m.content))
	if offset < 0 {
		offset = max(0, size+offset)
	}
	m.reads = append(m.reads, fmt.Sprintf("%d+%d", offset, length))
	offset = min(offset, size)
	return m.content[offset:min(size, offset+length)], size, nil
}

func TestRead(t *testing.T) {
	long := clone(segment)
	long.StringTable = append(long.StringTable, strings.Repeat("x", 5000))
	for name, test := range map[string]struct {
		block *metastorev1.BlockMeta
		data  int
		reads []string
	}{
		"short":   {segment, dataBytes, []string{"0+4096"}},
		"tiny":    {segment, 0, []string{"0+4096"}},
		"long":    {long, dataBytes, []string{"1269+4096", "128+1141"}},
		"no data": {long, 0, []string{"1141+4096", "0+1141"}},
	} {
		t.Run(name, func(t *testing.T) {
			footer, err := blockobject.Encode(test.block)
			if err != nil {
				t.Fatal(err)
			}
			bucket := &memory{content: append(make([]byte, test.data), footer...)}
			want := clone(test.block)
			want.Size, want.MetadataOffset = uint64(len(bucket.content)), uint64(test.data)
			got, err := blockobject.Read(t.Context(), bucket, "x")
			if err != nil || !proto.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
			if !slices.Equal(bucket.reads, test.reads) {
				t.Errorf("read %q, want %q", bucket.reads, test.reads)
			}
		})
	}
}

func TestReadOfWhatHasNoFooter(t *testing.T) {
	for _, content := range [][]byte{nil, []byte("short"), bytes.Repeat([]byte{0}, 1000), bytes.Repeat([]byte{0xff}, 1000), bytes.Repeat([]byte{0, 0, 0, 9}, 100)} {
		if block, err := blockobject.Read(t.Context(), &memory{content: content}, "x"); !errors.Is(err, blockobject.ErrFooter) {
			t.Errorf("%d bytes: %v, %v", len(content), block, err)
		}
	}
}

func TestReadOfWhatIsReplaced(t *testing.T) {
	long := clone(segment)
	long.StringTable = append(long.StringTable, strings.Repeat("x", 5000))
	footer, err := blockobject.Encode(long)
	if err != nil {
		t.Fatal(err)
	}
	bucket := &memory{content: footer, before: func(m *memory) {
		if len(m.reads) == 1 {
			m.content = append([]byte("longer"), m.content...)
		}
	}}
	if block, err := blockobject.Read(t.Context(), bucket, "x"); err == nil {
		t.Error(block)
	}
}

func TestNames(t *testing.T) {
	id := ulid.MustParse("01JGJFGR480W3GE1R70W3GE1R7")
	for _, test := range []struct {
		location blockobject.Location
		want     string
	}{
		{blockobject.Of("", 3, 0, id), "segments/3/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin"},
		{blockobject.Of("acme", 3, 0, id), "segments/3/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin"},
		{blockobject.Of("acme", 0, 1, id), "blocks/0/acme/01JGJFGR480W3GE1R70W3GE1R7/block.bin"},
		{blockobject.Of("anonymous", 4294967295, 3, id), "blocks/4294967295/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin"},
		{blockobject.DeadLetterOf("", 3, 0, id), "dlq/3/anonymous/01JGJFGR480W3GE1R70W3GE1R7/meta.pb"},
		{blockobject.DeadLetterOf("acme", 3, 2, id), "dlq/3/acme/01JGJFGR480W3GE1R70W3GE1R7/meta.pb"},
	} {
		if got := test.location.Name(); got != test.want {
			t.Errorf("%+v: %s, want %s", test.location, got, test.want)
		}
		parse := blockobject.Parse
		if test.location.Kind == blockobject.DeadLetter {
			parse = blockobject.ParseDeadLetter
		}
		if got, ok := parse(test.want); !ok || got != test.location {
			t.Errorf("%s: %+v, %v", test.want, got, ok)
		}
	}
}

func TestOtherNames(t *testing.T) {
	for _, name := range []string{
		"", "/", "////", "segments/3/anonymous/01JGJFGR480W3GE1R70W3GE1R7",
		"segments/3/acme/01JGJFGR480W3GE1R70W3GE1R7/block.bin", // segments have no tenant
		"segments/03/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin",
		"segments/+3/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin",
		"segments/4294967296/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin",
		"segments/3/anonymous/01jgjfgr480w3ge1r70w3ge1r7/block.bin",
		"segments/3/anonymous/81JGJFGR480W3GE1R70W3GE1R7/block.bin",
		"segments/3/anonymous/01JGJFGR480W3GE1R70W3GE1R/block.bin",
		"segments/3/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin/x",
		"segments/3/anonymous/01JGJFGR480W3GE1R70W3GE1R7/index.bin",
		"blocks/3//01JGJFGR480W3GE1R70W3GE1R7/block.bin",
		"Blocks/3/acme/01JGJFGR480W3GE1R70W3GE1R7/block.bin",
		"dlq/3/anonymous/01JGJFGR480W3GE1R70W3GE1R7/meta.pb",
	} {
		if got, ok := blockobject.Parse(name); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, name := range []string{
		"", "////", "dlq/9/", "dlq//x/01JGJFGR480W3GE1R70W3GE1R7/meta.pb", "dlq/9//01JGJFGR480W3GE1R70W3GE1R7/meta.pb",
		"dlq/9/x/01JGJFGR480W3GE1R70W3GE1R7/meta.pbx", "dlq/9/x/81JGJFGR480W3GE1R70W3GE1R7/meta.pb",
		"dlq/9/x/y/01JGJFGR480W3GE1R70W3GE1R7/meta.pb", "dlq-rejected/9/x/01JGJFGR480W3GE1R70W3GE1R7/meta.pb",
	} {
		if got, ok := blockobject.ParseDeadLetter(name); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, name := range []string{"dlq/nine/x/01JGJFGR480W3GE1R70W3GE1R7/meta.pb", "dlq/09/x/01jgjfgr480w3ge1r70w3ge1r7/meta.pb"} {
		if _, ok := blockobject.ParseDeadLetter(name); !ok {
			t.Errorf("%s is refused", name)
		}
	}
}

func clone(block *metastorev1.BlockMeta) *metastorev1.BlockMeta {
	return proto.Clone(block).(*metastorev1.BlockMeta)
}
