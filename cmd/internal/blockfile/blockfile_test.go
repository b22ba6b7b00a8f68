package blockfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func block(n int) *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{
		FormatVersion: 1, Id: fmt.Sprintf("01JGJFGR480W3GE1R70W3GE%03d", n), Shard: uint32(n),
		MinTime: 1735787040000, MaxTime: 1735787045000, CreatedBy: 1, Size: 1 << 40,
		StringTable: []string{"", "sw-0", "acme"},
		Datasets:    []*metastorev1.Dataset{{Tenant: 2, Labels: []int32{1, 1, 2, 0}, TableOfContents: []uint64{0, 40}}},
	}
}

func someBlocks(n int) []*metastorev1.BlockMeta {
	var all []*metastorev1.BlockMeta
	for i := range n {
		all = append(all, block(i))
	}
	return all
}

func frames(t testing.TB, all ...*metastorev1.BlockMeta) string {
	t.Helper()
	var out bytes.Buffer
	for _, block := range all {
		if err := WriteFrame(&out, block); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func bareBlock(t testing.TB, block *metastorev1.BlockMeta) string {
	t.Helper()
	encoded, err := block.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func objects(t testing.TB, separator string, all ...*metastorev1.BlockMeta) string {
	t.Helper()
	var texts []string
	for _, block := range all {
		text, err := protojson.Marshal(block)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return strings.Join(texts, separator)
}

func readAll(r io.Reader) ([]*metastorev1.BlockMeta, error) {
	var all []*metastorev1.BlockMeta
	for block, err := range Blocks(r) {
		if err != nil {
			return all, err
		}
		all = append(all, block)
	}
	return all, nil
}

func requireSame(t *testing.T, want, got []*metastorev1.BlockMeta) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d blocks, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(want[i], got[i]) {
			t.Errorf("block %d: %s", i, cmp.Diff(want[i].String(), got[i].String()))
		}
	}
}

func TestFormats(t *testing.T) {
	many := someBlocks(300)
	for _, c := range []struct {
		name, content string
		want          []*metastorev1.BlockMeta
	}{
		{"empty", "", nil},
		{"white space", " \n", nil},
		{"framed", frames(t, many...), many},
		{"framed, one", frames(t, many[0]), many[:1]},
		{"framed, an empty block", "\x00\x00\x00\x00", []*metastorev1.BlockMeta{{}}},
		{"framed, larger than the read buffer", frames(t, large(3*readBytes), many[1]), []*metastorev1.BlockMeta{large(3 * readBytes), many[1]}},
		{"bare", bareBlock(t, many[7]), many[7:8]},
		{"bare, looks like white space", " \x05", []*metastorev1.BlockMeta{{Shard: 5}}},
		{"JSON object", objects(t, "", many[0]), many[:1]},
		{"JSON lines", "\n " + objects(t, "\n", many...) + "\n", many},
		{"JSON without separators", objects(t, "", many[:3]...), many[:3]},
		{"JSON array", "\r\n\t [" + objects(t, ",\n", many...) + "]\n", many},
		{"JSON empty array", "[ ]", nil},
		{"JSON with the proto names", `{"format_version":1,"id":"x","min_time":"5"}`, []*metastorev1.BlockMeta{{FormatVersion: 1, Id: "x", MinTime: 5}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readAll(strings.NewReader(c.content))
			if err != nil {
				t.Fatal(err)
			}
			requireSame(t, c.want, got)
			got, err = readAll(iotest.OneByteReader(strings.NewReader(c.content)))
			if err != nil {
				t.Fatalf("byte by byte: %v", err)
			}
			requireSame(t, c.want, got)
		})
	}
}

func large(size int) *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{Id: strings.Repeat("x", size)}
}

func length(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func TestDamage(t *testing.T) {
	good := frames(t, block(1), block(2))
	second := len(good) / 2
	for _, c := range []struct {
		name, content string
		good          int
		want          string
	}{
		{"frame cut in the block", good[:len(good)-1], 1, fmt.Sprintf("frame at byte %d: the block ends after", second)},
		{"frame cut in the length", good + "\x00\x00", 2, fmt.Sprintf("frame at byte %d: the length ends after 2 of 4", len(good))},
		{"length over the limit", good + length(BlockBytesMax+1), 2, "over the limit"},
		{"largest length", good + length(1<<32-1), 2, "length 4294967295 is over the limit"},
		{"length without block", length(BlockBytesMax), 0, "ends after 0 of"},
		{"frame of nonsense", good + length(3) + "abc", 2, fmt.Sprintf("frame at byte %d: no block metadata", len(good))},
		{"nonsense", "hello", 0, "neither framed nor JSON, and no block metadata"},
		{"first length over the limit", length(BlockBytesMax+1<<24) + "abc", 0, "neither framed nor JSON"},
		{"JSON cut", objects(t, "\n", block(0), block(1))[:400], 1, "JSON object 2: the file ends inside"},
		{"JSON array not closed", "[" + objects(t, "", block(0)), 1, "JSON object 2: the file ends inside"},
		{"JSON array cut after a comma", "[" + objects(t, "", block(0)) + ",", 1, "JSON object 2: the file ends inside"},
		{"JSON bracket alone", "[", 0, "JSON object 1: the file ends inside"},
		{"JSON array and more", "[" + objects(t, "", block(0)) + "] {}", 1, "something follows the array"},
		{"JSON comma between objects", objects(t, ",", block(0), block(1)), 1, "JSON object 2: invalid character"},
		{"JSON of something else", `{"id":"x","color":"red"}`, 0, `JSON object 1`},
		{"JSON array of numbers", `[1]`, 0, "JSON object 1"},
		{"JSON array in array", `[[{}]]`, 0, "JSON object 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readAll(strings.NewReader(c.content))
			if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if len(got) != c.good {
				t.Errorf("%d blocks before the error, want %d", len(got), c.good)
			}
		})
	}
}

func TestReadErrorsAreNotTheEnd(t *testing.T) {
	failure := errors.New("disk on fire")
	for name, content := range map[string]string{
		"nothing": "", "framed": frames(t, block(0)), "framed, cut": frames(t, block(0))[:9],
		"bare": bareBlock(t, block(0)), "JSON": objects(t, "\n", block(0)) + "\n", "JSON array": "[" + objects(t, "", block(0)),
		"white space": "  ",
	} {
		_, err := readAll(io.MultiReader(strings.NewReader(content), iotest.ErrReader(failure)))
		if !errors.Is(err, failure) {
			t.Errorf("%s: got %v, want the read error", name, err)
		}
	}
}

func TestStopsWhenTold(t *testing.T) {
	seen := 0
	for range Blocks(strings.NewReader(frames(t, someBlocks(5)...))) {
		if seen++; seen == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("saw %d blocks, want 2", seen)
	}
}

// endless is a file of one byte for ever.
type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

// TestHostileInputIsBounded measures what is allocated for one endless or
// announced block.
func TestHostileInputIsBounded(t *testing.T) {
	const limit = 1 << 20
	for name, input := range map[string]io.Reader{
		"announced, not there": strings.NewReader(length(limit)),
		"endless JSON string":  io.MultiReader(strings.NewReader(`{"id":"`), endless('x')),
		"endless JSON spaces":  io.MultiReader(strings.NewReader(`{`), endless(' ')),
		"endless JSON numbers": io.MultiReader(strings.NewReader(`[`), endless('1')),
		"endless white space":  endless(' '),
		"endless bare block":   io.MultiReader(strings.NewReader("\x12\xff\xff\xff\xff\x07"), endless('x')),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			failed := false
			for _, err := range blocks(input, limit) {
				failed = err != nil
			}
			runtime.ReadMemStats(&after)
			if !failed {
				t.Error("no error")
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 10*limit {
				t.Errorf("allocated %d bytes, want at most %d", got, 10*limit)
			}
		})
	}
	t.Run("announced, not there, at the real limit", func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readAll(strings.NewReader(length(BlockBytesMax)))
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > limit {
			t.Errorf("%v, and allocated %d bytes, want at most %d", err, got, limit)
		}
	})
}

func TestWriteFrameRefusesTooLarge(t *testing.T) {
	var out bytes.Buffer
	if err := WriteFrame(&out, large(BlockBytesMax)); err == nil || out.Len() != 0 {
		t.Errorf("got %v and %d bytes", err, out.Len())
	}
}
