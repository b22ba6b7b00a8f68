package shardgroup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

func transferStatus(t testing.TB, node *shardgroup.Node, group uint64) *nodev1.TransferStatusResponse {
	t.Helper()
	return retried(t, func() (*nodev1.TransferStatusResponse, error) {
		return node.Service().TransferStatus(t.Context(), &nodev1.TransferStatusRequest{GroupId: group})
	})
}

func waitingTransfers(t testing.TB, node *shardgroup.Node, group uint64) uint64 {
	t.Helper()
	return transferStatus(t, node, group).GetTransfers()
}

// What cannot be accepted is refused before it is replicated.
func TestAcceptTransfersValidates(t *testing.T) {
	node := openWith(t, func(*shardgroup.Options) {})
	m := rangeMap(t, node)
	whole := m.Cover(clusterv1.Keyspace_KEYSPACE_TENANT, 0, 0)[0].Ref
	good := func() *nodev1.AcceptTransfersRequest {
		return &nodev1.AcceptTransfersRequest{GroupId: dataGroup, Range: proto.CloneOf(whole), Transfers: &raftlogv1.AcceptTransfers{
			Transfers: []*raftlogv1.OutgoingTransfer{{Stream: 3, Incarnation: 1, Tenant: "anna", Number: 1, Blocks: []*metastorev1.BlockMeta{testBlock(1, "anna", 3, 1)}}},
		}}
	}
	for name, spoil := range map[string]func(*nodev1.AcceptTransfersRequest, *raftlogv1.OutgoingTransfer){
		"none": func(r *nodev1.AcceptTransfersRequest, _ *raftlogv1.OutgoingTransfer) { r.Transfers = nil },
		"too many": func(r *nodev1.AcceptTransfersRequest, one *raftlogv1.OutgoingTransfer) {
			r.Transfers.Transfers = slices.Repeat(r.Transfers.Transfers, 5000)
		},
		"no range": func(r *nodev1.AcceptTransfersRequest, _ *raftlogv1.OutgoingTransfer) { r.Range = nil },
		"streams": func(r *nodev1.AcceptTransfersRequest, _ *raftlogv1.OutgoingTransfer) {
			r.Range.Keyspace = clusterv1.Keyspace_KEYSPACE_STREAM
		},
		"other shard":  func(_ *nodev1.AcceptTransfersRequest, one *raftlogv1.OutgoingTransfer) { one.Stream = 4 },
		"other tenant": func(_ *nodev1.AcceptTransfersRequest, one *raftlogv1.OutgoingTransfer) { one.Tenant = "bert" },
		"no tenant": func(_ *nodev1.AcceptTransfersRequest, one *raftlogv1.OutgoingTransfer) {
			one.Tenant, one.Blocks = "", nil
		},
		"no number":     func(_ *nodev1.AcceptTransfersRequest, one *raftlogv1.OutgoingTransfer) { one.Number = 0 },
		"invalid block": func(_ *nodev1.AcceptTransfersRequest, one *raftlogv1.OutgoingTransfer) { one.Blocks[0].Id = "x" },
		"directory": func(r *nodev1.AcceptTransfersRequest, _ *raftlogv1.OutgoingTransfer) {
			r.GroupId = clusterv1.DirectoryGroup
		},
	} {
		request := good()
		spoil(request, request.Transfers.Transfers[0])
		if _, err := node.Service().AcceptTransfers(t.Context(), request); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	stale := good()
	stale.Range.Epoch++
	if _, err := node.Service().AcceptTransfers(t.Context(), stale); err == nil || status.Code(err) == codes.InvalidArgument {
		t.Errorf("a range of another epoch: %v", err)
	}
	for range 2 { // again is as good
		answer, err := node.Service().AcceptTransfers(t.Context(), good())
		if err != nil || len(answer.GetOutcomes().GetOutcomes()) != 1 || answer.GetOutcomes().GetOutcomes()[0].GetAccepted() != 1 {
			t.Errorf("%v, %v", answer, err)
		}
	}
	wantBlocks(t, node, m, []*metastorev1.BlockMeta{testBlock(1, "anna", 3, 1)})
}

// A full outbox holds up the compaction of its stream, and nothing else; what waits
// is told, and why.
func TestTransfersWaitForSickGroups(t *testing.T) {
	clock, registry := newClock(blockTime), prometheus.NewRegistry()
	held := newGate()
	options := shardgroup.Options{
		DataDir: t.TempDir(), RaftAddress: freeAddress(t), Found: true, Groups: 1, RTT: 5 * time.Millisecond,
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20, Now: clock.now,
	}
	held.install(&options)
	node, err := openReady(t.Context(), options, zaptest.NewLogger(t), registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, node) })
	m := rangeMap(t, node)
	release := holdTransfers(t, held)
	for serial := range 20 {
		add(t, node, m, testBlock(serial, "", 1, 0, "anna", "bert"))
	}
	poll(t, node, 1)
	answer := poll(t, node, 1).GetPoll()
	sources, err := sourcesOf(t.Context(), t, node, m, answer.GetCompactionJobs()[0])
	if err != nil {
		t.Fatal(err)
	}
	poll(t, node, 0, success(answer.GetAssignments()[0], merge(answer.GetCompactionJobs()[0], sources)))
	got := transferStatus(t, node, dataGroup)
	if got.GetTransfers() != 2 || got.GetBlocks() != 2 || len(got.GetOutboxes()) != 2 || got.GetOldest() != clock.now().UnixNano() || got.GetOutboxes()[0].GetStream() != 1 {
		t.Errorf("what waits is %v", got)
	}
	if limited, err := node.Service().TransferStatus(t.Context(), &nodev1.TransferStatusRequest{GroupId: dataGroup, Limit: 1, FromLeader: true}); err != nil || !limited.GetTruncated() || limited.GetTransfers() != 2 {
		t.Errorf("limited: %v, %v", limited, err)
	}
	clock.advance(90 * time.Second)
	release()
	await(t, "deliveries", func() bool { return waitingTransfers(t, node, dataGroup) == 0 })
	if count, sum := histogramOf(t, registry, "skerry_transfers_age_seconds"); count != 2 || sum != 180 {
		t.Errorf("%d transfers were accepted, %v old together", count, sum)
	}
}

// Who wants to know why transfers wait is sent to the leader.
func TestLeaderKnowsWhyTransfersWait(t *testing.T) {
	c := found(t, 3, 1, 10*time.Millisecond)
	leader, follower := c.leader(t, dataGroup)
	request := &nodev1.TransferStatusRequest{GroupId: dataGroup, FromLeader: true}
	retried(t, func() (*nodev1.TransferStatusResponse, error) {
		return c.node(leader).Service().TransferStatus(t.Context(), request)
	})
	_, err := c.node(follower).Service().TransferStatus(t.Context(), request)
	told := status.Convert(err).Details()
	if len(told) != 1 || told[0].(*clusterv1.RouteError).GetLeaderNodeId() != c.node(leader).ID() {
		t.Errorf("a follower answered %v, %v", err, told)
	}
	request.FromLeader = false
	if _, err := c.node(follower).Service().TransferStatus(t.Context(), request); err != nil {
		t.Error(err)
	}
}

func histogramOf(t testing.TB, registry *prometheus.Registry, name string) (count uint64, sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, metric := range family.GetMetric() {
				count, sum = count+metric.GetHistogram().GetSampleCount(), sum+metric.GetHistogram().GetSampleSum()
			}
		}
	}
	return count, sum
}
