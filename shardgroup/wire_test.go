package shardgroup_test

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// The node API over a real connection: what is added is found, and a refusal
// arrives with the group's own descriptors, which routers correct themselves by.
func TestNodeAPIOverGRPC(t *testing.T) {
	node := open(t, t.TempDir())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(wirecodec.Codec{}))
	nodev1.RegisterNodeServiceServer(server, node.Service())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wirecodec.Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	client := nodev1.NewNodeServiceClient(connection)

	m, block := rangeMap(t, node), segments(t)[0]
	if response, err := client.AddBlock(t.Context(), addRequest(t, m, block)); err != nil || !response.GetAdded() {
		t.Fatalf("added: %v, %v", response, err)
	}
	stream := m.Ranges(clusterv1.Keyspace_KEYSPACE_STREAM)[0]
	query := &nodev1.QueryRequest{
		GroupId: stream.GetGroupId(), Tenants: []string{block.GetStringTable()[block.GetDatasets()[0].GetTenant()]},
		StartTime: block.GetMinTime(), EndTime: block.GetMaxTime(), Selector: "{}",
		Ranges: []*clusterv1.RangeRef{{Keyspace: stream.GetKeyspace(), Lo: stream.GetLo(), Hi: stream.GetHi(), Epoch: stream.GetEpoch()}},
	}
	if response, err := client.QueryBlocks(t.Context(), query); err != nil || len(response.GetBlocks()) != 1 || response.GetBlocks()[0].GetId() != block.GetId() {
		t.Errorf("found: %v, %v", response, err)
	}

	query.Ranges[0].Epoch = 0
	_, err = client.QueryBlocks(t.Context(), query)
	refusal := status.Convert(err)
	if refusal.Code() != codes.Aborted || len(refusal.Details()) != 1 {
		t.Fatalf("a stale epoch: %v", err)
	}
	detail, ok := refusal.Details()[0].(*clusterv1.RouteError)
	if !ok || detail.GetReason() != clusterv1.RouteError_REASON_STALE_EPOCH || len(detail.GetCurrent()) != 1 || detail.GetCurrent()[0].GetEpoch() != stream.GetEpoch() {
		t.Errorf("a stale epoch: detail %v", refusal.Details()[0])
	}
}
