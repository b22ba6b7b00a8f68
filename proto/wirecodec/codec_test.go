package wirecodec_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// Messages with and without fast paths cross the codec, also when they arrive
// in pieces, and keep nothing of the buffer they were decoded from.
func TestRoundTrip(t *testing.T) {
	for _, message := range []proto.Message{
		&metastorev1.BlockMeta{Id: "01J8E68YM0Z2RRKCY9SYGX3054", StringTable: []string{"", strings.Repeat("x", 5000)}, Size: 7},
		&metastorev1.BlockMeta{},
		wrapperspb.String("no fast path"),
	} {
		encoded, err := wirecodec.Codec{}.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		standard, err := proto.Marshal(message)
		if err != nil || string(encoded.Materialize()) != string(standard) {
			t.Errorf("%T: encoded differently than by the standard codec", message)
		}
		encoded.Free()
		var pieces mem.BufferSlice
		for rest := standard; len(rest) > 0; rest = rest[min(3, len(rest)):] {
			pieces = append(pieces, mem.SliceBuffer(rest[:min(3, len(rest))]))
		}
		decoded := message.ProtoReflect().New().Interface()
		if err := (wirecodec.Codec{}).Unmarshal(pieces, decoded); err != nil {
			t.Fatal(err)
		}
		clear(standard)
		if !proto.Equal(decoded, message) {
			t.Errorf("got %v, want %v", decoded, message)
		}
	}
}

func TestRefusals(t *testing.T) {
	codec := wirecodec.Codec{}
	if _, err := codec.Marshal("text"); err == nil {
		t.Error("a string was encoded")
	}
	garbage := mem.BufferSlice{mem.SliceBuffer{0xff}}
	for _, target := range []any{"text", &metastorev1.BlockMeta{}, &wrapperspb.StringValue{}} {
		if err := codec.Unmarshal(garbage, target); err == nil {
			t.Errorf("garbage was decoded into %T", target)
		}
	}
}
