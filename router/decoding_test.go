package router

import (
	"bytes"
	"context"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/raftnode"
)

const (
	addBlockRoute    = "/metastore.v1.IndexService/AddBlock"
	undecodableTotal = "skerry_router_undecodable_requests_total"
)

// invoke sends a request whose encoding is what the caller says.
func invoke(ctx context.Context, conn *grpc.ClientConn, route string, encoded []byte, options ...grpc.CallOption) error {
	request := &metastorev1.AddBlockRequest{}
	request.ProtoReflect().SetUnknown(encoded)
	return conn.Invoke(ctx, route, request, &metastorev1.AddBlockResponse{}, options...)
}

func record(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

// Every public call says what is wrong, in a code that clients do not repeat.
func TestGarbageIsInvalidArgument(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	registry := prometheus.NewRegistry()
	r, err := New(Options{}, c, c.seeds, nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	conn := public(t, r, Options{}, nil)
	for _, route := range []string{
		addBlockRoute, metastorev1.MetadataQueryService_QueryMetadata_FullMethodName, metastorev1.TenantService_GetTenants_FullMethodName,
		metastorev1.CompactionService_PollCompactionJobs_FullMethodName, raftnode.RaftNodeService_NodeInfo_FullMethodName, healthv1.Health_Check_FullMethodName,
	} {
		for name, options := range map[string][]grpc.CallOption{"plain": nil, "gzip": {grpc.UseCompressor(gzip.Name)}} {
			s := wantCode(t, invoke(t.Context(), conn, route, []byte{0xff}, options...), codes.InvalidArgument)
			if !strings.Contains(s.Message(), "cannot be decoded") || !strings.Contains(s.Message(), "unexpected EOF") && !strings.Contains(s.Message(), "proto") {
				t.Errorf("%s, %s: the cause is missing in %q", route, name, s.Message())
			}
		}
		if got := counter(t, registry, undecodableTotal, "route", route); got != 2 {
			t.Errorf("%s: counted %v, want 2", route, got)
		}
	}
	if calls := c.calls("AddBlock"); len(calls) != 0 {
		t.Errorf("a group was asked: %v", calls)
	}
	// The connection is still good, and good requests are not counted.
	if _, err := metastorev1.NewIndexServiceClient(conn).AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: newBlock("a", 1, 1)}); err != nil {
		t.Error(err)
	}
	if got := counter(t, registry, undecodableTotal, "route", addBlockRoute); got != 2 {
		t.Errorf("counted %v, want 2", got)
	}
}

// The group gets a block as the client encoded it. What else is in a request is left out.
func TestBlocksArePassedOnAsTheyCome(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	conn := public(t, c.start(t, Options{}), Options{}, nil)
	usual := encode(newBlock("a", 1, 1))
	// Not as our encoder would write it: the level is there, and 0.
	odd := protowire.AppendVarint(protowire.AppendTag(encode(newBlock("a", 1, 2)), 5, protowire.VarintType), 0)
	for name, test := range map[string]struct{ sent, want []byte }{
		"usual":         {record(1, usual), usual},
		"odd":           {record(1, odd), odd},
		"behind others": {append(record(7, []byte("x")), record(1, usual)...), usual},
		"before others": {append(record(1, usual), record(7, []byte("x"))...), usual},
		"in pieces":     {append(record(1, usual[:0]), record(1, usual)...), usual},
	} {
		before := len(c.calls("AddBlock"))
		if err := invoke(t.Context(), conn, addBlockRoute, test.sent); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		calls := c.calls("AddBlock")
		if len(calls) != before+1 {
			t.Fatalf("%s: %d calls", name, len(calls)-before)
		}
		if got := calls[before].request.(*nodev1.AddBlockRequest).GetBlock(); !bytes.Equal(got, test.want) {
			t.Errorf("%s: the group got %x, want %x", name, got, test.want)
		}
	}
}

// checking is a node in this process that takes blocks which were checked.
type checking struct {
	*fakeNode
	blocks chan *metastorev1.BlockMeta
}

func (n checking) AddCheckedBlock(ctx context.Context, in *nodev1.AddBlockRequest, block *metastorev1.BlockMeta) (*nodev1.AddBlockResponse, error) {
	n.blocks <- block
	return n.fakeNode.AddBlock(ctx, in)
}

// A node in the same process gets the block that was checked, others do not.
func TestNodeInThisProcessNeedNotCheckAgain(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	n := checking{&fakeNode{cluster: c, id: "n1"}, make(chan *metastorev1.BlockMeta, 1)}
	block := newBlock("a", 1, 1)
	in := &nodev1.AddBlockRequest{GroupId: 2, Range: &clusterv1.RangeRef{}, Block: encode(block)}
	_, _ = addChecked(t.Context(), Direct(n), in, block)
	select {
	case got := <-n.blocks:
		if got != block {
			t.Error("another block")
		}
	default:
		t.Error("the node was not told that the block was checked")
	}
	_, _ = addChecked(t.Context(), Direct(n.fakeNode), in, block)
	if calls := len(c.calls("AddBlock")); calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}

// 47 million empty records in 90 MiB would be 7 GB of structs.
func TestCostlyRequestIsRefusedUndecoded(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	conn := public(t, c.start(t, Options{}), Options{}, nil)
	encoded := record(1, bytes.Repeat(record(10, nil), 45<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := invoke(t.Context(), conn, addBlockRoute, encoded)
	runtime.ReadMemStats(&after)
	if s := wantCode(t, err, codes.InvalidArgument); !strings.Contains(s.Message(), "memory") {
		t.Errorf("got %q", s.Message())
	}
	// Client and server are both in this process and copy the message.
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<30 {
		t.Errorf("%d MiB were allocated", used>>20)
	} else {
		t.Logf("%d MiB were allocated", used>>20)
	}
	if calls := c.calls("AddBlock"); len(calls) != 0 {
		t.Error("a group was asked")
	}
}

// What is not the codec's keeps the code that gRPC gave it.
func TestOtherErrorsOfReceivingStay(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	registry := prometheus.NewRegistry()
	r, err := New(Options{}, c, c.seeds, nil, registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	conn := public(t, r, Options{}, nil)
	tooLong := record(1, make([]byte, MaxMessageBytes))
	wantCode(t, invoke(t.Context(), conn, addBlockRoute, tooLong), codes.ResourceExhausted)
	// The same if only the decompressed message is too long.
	wantCode(t, invoke(t.Context(), conn, addBlockRoute, tooLong, grpc.UseCompressor(gzip.Name)), codes.ResourceExhausted)

	// A client that leaves before it has sent its request.
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, addBlockRoute)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	wantCode(t, stream.RecvMsg(&metastorev1.AddBlockResponse{}), codes.Canceled)
	// One that ends without a request.
	if stream, err = conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, addBlockRoute); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, stream.RecvMsg(&metastorev1.AddBlockResponse{}), codes.Internal)
	if got := counter(t, registry, undecodableTotal, "route", addBlockRoute); got != 0 {
		t.Errorf("counted %v undecodable requests, want none", got)
	}
}

// Generated descriptions are shared by all servers of the process.
func TestRegistrationCopiesDescriptions(t *testing.T) {
	plain, wrapped := grpc.NewServer(), grpc.NewServer()
	defer plain.Stop()
	defer wrapped.Stop()
	c := newFakeCluster(t, 1, 1, 1)
	r := c.start(t, Options{})
	r.RegisterPublic(wrapped)
	metastorev1.RegisterIndexServiceServer(plain, &indexService{router: r})
	// A handler that was wrapped would hand over something else than a request.
	handler := metastorev1.IndexService_ServiceDesc.Methods[0].Handler
	_, err := handler(&indexService{router: r}, t.Context(), func(v any) error {
		if _, ok := v.(proto.Message); !ok {
			t.Errorf("the description was changed: got %T", v)
		}
		return nil
	}, nil)
	wantCode(t, err, codes.InvalidArgument)
	for name, info := range plain.GetServiceInfo() {
		if got := wrapped.GetServiceInfo()[name]; len(got.Methods) != len(info.Methods) || got.Metadata != info.Metadata {
			t.Errorf("%s: got %v, want %v", name, got, info)
		}
	}
}
