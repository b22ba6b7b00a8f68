package raftlogv1_test

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// DecodeEntry is UnmarshalVT: the same entry, or the same error.
func FuzzDecodeEntry(f *testing.F) {
	entry := &raftlogv1.Entry{ProposedAt: 1 << 60, LeaderEpoch: 3, Commands: []*raftlogv1.Command{
		{Kind: raftlogv1.Kind_KIND_ADD_BLOCK, RequestId: make([]byte, 16), Range: &clusterv1.RangeRef{Lo: 1, Epoch: 2}, Payload: []byte("payload")},
		{},
		{Kind: 1000, Range: &clusterv1.RangeRef{}},
	}}
	usual, err := entry.MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	command := func(fields ...[]byte) []byte {
		var all []byte
		for _, field := range fields {
			all = append(all, field...)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), all)
	}
	bytes := func(number protowire.Number, content ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
	}
	odd := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1<<40|3)
	for _, seed := range [][]byte{
		nil, usual, usual[:len(usual)-3], append(usual[:len(usual):len(usual)], usual...),
		command(bytes(3, 0x20, 1), bytes(3, 0x08, 1)), command(bytes(3, 0xff)), command(bytes(4), bytes(4, 'x'), bytes(2)),
		command(odd), command(bytes(5, 'x')), command(bytes(1)), bytes(1), bytes(9, 'x'), {0x1a, 0xff}, {0x00}, {0x0c},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		want := &raftlogv1.Entry{}
		wantErr := want.UnmarshalVT(encoded)
		got, err := raftlogv1.DecodeEntry(encoded)
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Fatalf("%v, want %v", err, wantErr)
		}
		if err == nil && !proto.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}
