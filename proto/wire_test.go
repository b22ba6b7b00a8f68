package proto_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/raftnode"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// The client API as descriptors: every name, number, type and method. A change
// of the golden file is a break with Pyroscope.
func TestClientAPIIsPinned(t *testing.T) {
	var listing strings.Builder
	for _, file := range []protoreflect.FileDescriptor{
		typesv1.File_types_v1_types_proto,
		metastorev1.File_metastore_v1_types_proto,
		metastorev1.File_metastore_v1_index_proto,
		metastorev1.File_metastore_v1_compactor_proto,
		metastorev1.File_metastore_v1_query_proto,
		metastorev1.File_metastore_v1_tenant_proto,
		raftnode.File_raftnode_raft_node_proto,
	} {
		list(&listing, file)
	}
	const golden = "testdata/client_api.txt"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(listing.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if listing.String() != string(want) {
		t.Errorf("the client API changed; got:\n%s", listing.String())
	}
}

func list(out *strings.Builder, file protoreflect.FileDescriptor) {
	services := file.Services()
	for i := range services.Len() {
		methods := services.Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			fmt.Fprintf(out, "rpc /%s/%s %s -> %s streams %t %t\n", services.Get(i).FullName(), m.Name(),
				m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer())
		}
	}
	listMessages(out, file.Messages())
	enums := file.Enums()
	for i := range enums.Len() {
		values := enums.Get(i).Values()
		for j := range values.Len() {
			fmt.Fprintf(out, "enum %s %d %s\n", enums.Get(i).FullName(), values.Get(j).Number(), values.Get(j).Name())
		}
	}
}

func listMessages(out *strings.Builder, messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		message := messages.Get(i)
		fmt.Fprintf(out, "message %s\n", message.FullName())
		fields := message.Fields()
		for j := range fields.Len() {
			f := fields.Get(j)
			kind := f.Kind().String()
			switch {
			case f.Message() != nil:
				kind = string(f.Message().FullName())
			case f.Enum() != nil:
				kind = string(f.Enum().FullName())
			}
			fmt.Fprintf(out, "  %d %s %s %s packed %t\n", f.Number(), f.Name(), f.Cardinality(), kind, f.IsPacked())
		}
		listMessages(out, message.Messages())
	}
}

// Bytes that Pyroscope's own encoder produced.
func TestBlockMetaBytes(t *testing.T) {
	segment := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: "01JGJFGR480W3GE1R70W3GE1R7", Shard: 3,
		MinTime: 1735787040000, MaxTime: 1735787045000, CreatedBy: 1, MetadataOffset: 128,
		Datasets: []*metastorev1.Dataset{
			{Tenant: 2, Name: 3, MinTime: 1735787040000, MaxTime: 1735787045000, TableOfContents: []uint64{0, 40, 60}, Size: 100,
				Labels: []int32{2, 4, 3, 5, 6, 2, 4, 3, 5, 7}},
			{Tenant: 2, MinTime: 1735787040000, MaxTime: 1735787045000, TableOfContents: []uint64{100}, Size: 28,
				Labels: []int32{1, 8, 9}, Format: 1},
		},
		StringTable: []string{"", "sw-0", "acme", "checkout", "service_name", "__profile_type__", "cpu", "mem", "__tenant_dataset__", "dataset_tsdb_index"},
	}
	smallest := &metastorev1.BlockMeta{FormatVersion: 1, Id: "01JGJ6J3X8000000000000000A", StringTable: []string{""}}
	for _, test := range []struct {
		name  string
		block *metastorev1.BlockMeta
		want  string
	}{
		{"segment", segment, `
			08 01 12 1a 30 31 4a 47 4a 46 47 52 34 38 30 57 33 47 45 31 52 37 30 57 33 47 45 31 52 37 20 03
			30 80 9a e1 a7 c2 32 38 88 c1 e1 a7 c2 32 40 01 52 25 08 02 10 03 18 80 9a e1 a7 c2 32 20 88 c1
			e1 a7 c2 32 2a 03 00 28 3c 30 64 42 0a 02 04 03 05 06 02 04 03 05 07 52 1c 08 02 18 80 9a e1 a7
			c2 32 20 88 c1 e1 a7 c2 32 2a 01 64 30 1c 42 03 01 08 09 48 01 5a 00 5a 04 73 77 2d 30 5a 04 61
			63 6d 65 5a 08 63 68 65 63 6b 6f 75 74 5a 0c 73 65 72 76 69 63 65 5f 6e 61 6d 65 5a 10 5f 5f 70
			72 6f 66 69 6c 65 5f 74 79 70 65 5f 5f 5a 03 63 70 75 5a 03 6d 65 6d 5a 12 5f 5f 74 65 6e 61 6e
			74 5f 64 61 74 61 73 65 74 5f 5f 5a 12 64 61 74 61 73 65 74 5f 74 73 64 62 5f 69 6e 64 65 78 60
			80 01`},
		{"smallest", smallest, "0801121a30314a474a364a335838303030303030303030303030303030415a00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.Join(strings.Fields(test.want), ""))
			if err != nil {
				t.Fatal(err)
			}
			fast, err := test.block.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(fast, want) {
				t.Errorf("fast path encodes\n% x, want\n% x", fast, want)
			}
			var decoded metastorev1.BlockMeta
			if err := decoded.UnmarshalVT(want); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(&decoded, test.block) {
				t.Errorf("fast path decodes %v", &decoded)
			}
			var standard metastorev1.BlockMeta
			if err := proto.Unmarshal(want, &standard); err != nil || !proto.Equal(&standard, test.block) {
				t.Errorf("standard path decodes %v, %v", &standard, err)
			}
		})
	}
}

// Unknown fields of a newer client survive decoding and encoding.
func TestUnknownFieldsAreKept(t *testing.T) {
	sent := append([]byte{0x12, 0x01, 'x'}, 0xa2, 0x06, 0x03, 'n', 'e', 'w') // id, field 100
	var block metastorev1.BlockMeta
	if err := block.UnmarshalVT(sent); err != nil {
		t.Fatal(err)
	}
	got, err := block.MarshalVT()
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got % x, %v, want % x", got, err, sent)
	}
}
