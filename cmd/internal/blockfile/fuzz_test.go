package blockfile

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// FuzzBlocks demands that any input ends in blocks or an error, and that what
// was read survives being written and read again.
func FuzzBlocks(f *testing.F) {
	framed := frames(f, someBlocks(2)...)
	for _, seed := range []string{
		"", framed, framed[:len(framed)-3], framed + "\x00", length(BlockBytesMax), length(BlockBytesMax + 1), length(1<<32 - 1),
		"\x00\x00\x00\x00\x00\x00\x00\x00", bareBlock(f, block(0)), " \x05", "[", "[]", "[,]", "{}", "{}{}", "{},{}", `[{"id":"x"},{}]`,
		objects(f, "\n", someBlocks(2)...), strings.Repeat("[", 20000), `{"datasets":[{"labels":[1,2]}]}`, "\x0a\x0b\x0c",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		first, err := readAll(bytes.NewReader(content))
		if err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
		again, err := readAll(strings.NewReader(frames(t, first...)))
		if err != nil || len(again) != len(first) {
			t.Fatalf("read %d blocks again, %v; want %d", len(again), err, len(first))
		}
		for i := range first {
			if !proto.Equal(first[i], again[i]) {
				t.Errorf("block %d changed: %v, %v", i, first[i], again[i])
			}
		}
	})
}
