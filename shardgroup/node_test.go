package shardgroup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func tryOpen(t *testing.T, dir string, registry prometheus.Registerer) (*shardgroup.Node, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return openReady(ctx, shardgroup.Options{
		DataDir: dir, RaftAddress: freeAddress(t), Found: true, Groups: 2, RTT: 5 * time.Millisecond,
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
	}, zaptest.NewLogger(t), registry)
}

// openReady opens a node and waits until it serves; one that does not is closed.
func openReady(ctx context.Context, options shardgroup.Options, log *zap.Logger, registry prometheus.Registerer) (*shardgroup.Node, error) {
	node, err := shardgroup.Open(ctx, options, log, registry)
	if err != nil {
		return nil, err
	}
	if err := node.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, node.Close())
	}
	return node, nil
}

func open(t *testing.T, dir string) *shardgroup.Node {
	t.Helper()
	node, err := tryOpen(t, dir, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, node) })
	return node
}

func closeNode(t *testing.T, node *shardgroup.Node) {
	t.Helper()
	if err := node.Close(); err != nil {
		t.Error(err)
	}
}

func rangeMap(t testing.TB, node *shardgroup.Node) *clusterv1.Map {
	t.Helper()
	response, err := node.Service().RangeMap(t.Context(), &nodev1.RangeMapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := clusterv1.NewMap(response.GetMap())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func addRequest(t testing.TB, m *clusterv1.Map, block *metastorev1.BlockMeta) *nodev1.AddBlockRequest {
	t.Helper()
	encoded, err := block.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
	piece := m.Cover(keyspace, point, point+1)[0]
	return &nodev1.AddBlockRequest{GroupId: piece.GroupID, Range: piece.Ref, RequestId: make([]byte, 16), Block: encoded}
}

// wantBlocks demands that each block comes back with the same content.
func wantBlocks(t testing.TB, node *shardgroup.Node, m *clusterv1.Map, blocks []*metastorev1.BlockMeta) {
	t.Helper()
	for _, block := range blocks {
		keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
		piece := m.Cover(keyspace, point, point+1)[0]
		// An election may be under way, where there are several nodes.
		response := retried(t, func() (*nodev1.GetBlocksResponse, error) {
			return node.Service().GetBlocks(t.Context(), &nodev1.GetBlocksRequest{
				GroupId: piece.GroupID, Range: piece.Ref, Tenant: block.TenantName(), Shard: block.GetShard(), Ids: []string{block.GetId()},
			})
		})
		got := &metastorev1.BlockMeta{}
		if len(response.GetBlocks()) != 1 {
			t.Fatalf("block %s is lost", block.GetId())
		}
		if err := got.UnmarshalVT(response.GetBlocks()[0]); err != nil || !proto.Equal(got, block) {
			t.Fatalf("got %v, %v, want %v", got, err, block)
		}
	}
}

func decode(t testing.TB, encoded []byte) *metastorev1.BlockMeta {
	t.Helper()
	block := &metastorev1.BlockMeta{}
	if err := block.UnmarshalVT(encoded); err != nil {
		t.Fatal(err)
	}
	return block
}

func segments(t testing.TB) []*metastorev1.BlockMeta {
	t.Helper()
	rest, err := os.ReadFile("../proto/testdata/blocks/L0.pb")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []*metastorev1.BlockMeta
	for len(rest) > 0 {
		size := binary.BigEndian.Uint32(rest)
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(rest[4 : 4+size]); err != nil {
			t.Fatal(err)
		}
		blocks, rest = append(blocks, block), rest[4+size:]
	}
	return blocks
}

func TestNodeKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	registry := prometheus.NewRegistry()
	node, err := tryOpen(t, dir, registry)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Ready(); err != nil {
		t.Error(err)
	}
	m := rangeMap(t, node)
	if len(m.Proto().GetGroups()) != 3 || m.Proto().GetCluster().GetClusterId() != node.ClusterID() {
		t.Errorf("the map is %v", m.Proto())
	}
	blocks := segments(t)
	var writers sync.WaitGroup
	for _, block := range blocks {
		writers.Go(func() {
			for _, added := range []bool{true, false} {
				response, err := node.Service().AddBlock(t.Context(), addRequest(t, m, block))
				if err != nil || response.GetAdded() != added {
					t.Errorf("%s: %v, %v", block.GetId(), response, err)
				}
			}
		})
	}
	writers.Wait()
	wantBlocks(t, node, m, blocks)
	wantCoalescing(t, registry, 2*len(blocks))
	epochs := leaderEpochs(t, node)
	closeNode(t, node)
	if _, err := node.Service().AddBlock(t.Context(), addRequest(t, m, blocks[0])); status.Code(err) != codes.Unavailable {
		t.Errorf("after Close: %v", err)
	}

	again, err := tryOpen(t, dir, registry) // also: Close gave its metrics back
	if err != nil {
		t.Fatal(err)
	}
	defer closeNode(t, again)
	kept := rangeMap(t, again)
	if again.ID() != node.ID() || again.ClusterID() != node.ClusterID() || !slices.EqualFunc(kept.Proto().GetRanges(), m.Proto().GetRanges(), func(a, b *clusterv1.Range) bool { return proto.Equal(a, b) }) {
		t.Error("identity or ranges changed over a restart")
	}
	if boots := kept.Node(node.ID()).GetBoots(); boots != 2 {
		t.Errorf("the directory knows of %d starts, want 2", boots)
	}
	wantBlocks(t, again, m, blocks)
	for group, epoch := range leaderEpochs(t, again) {
		if epoch <= epochs[group] {
			t.Errorf("group %d: leader epoch %d after %d", group, epoch, epochs[group])
		}
	}
}

// wantCoalescing demands that all commands went through the log in fewer
// entries than commands.
func wantCoalescing(t *testing.T, registry *prometheus.Registry, commands int) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "skerry_group_entry_commands" {
			continue
		}
		var entries, total float64
		for _, metric := range family.GetMetric() {
			entries += float64(metric.GetHistogram().GetSampleCount())
			total += metric.GetHistogram().GetSampleSum()
		}
		if int(total) < commands || entries >= total {
			t.Errorf("%.0f commands in %.0f entries, want at least %d commands in fewer entries", total, entries, commands)
		}
		return
	}
	t.Error("the metric is missing")
}

// leaderEpochs waits until each group's leader has claimed an epoch.
func leaderEpochs(t *testing.T, node *shardgroup.Node) map[uint64]uint64 {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := node.Service().GroupStatus(t.Context(), &nodev1.GroupStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		epochs := map[uint64]uint64{}
		claimed := true
		for _, replica := range response.GetReplicas() {
			epochs[replica.GetGroupId()] = node.LeaderEpoch(replica.GetGroupId())
			claimed = claimed && epochs[replica.GetGroupId()] > 0
		}
		if claimed {
			return epochs
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			t.Fatalf("leader epochs %v", epochs)
		}
	}
}

func TestNodeAnswersBadRequests(t *testing.T) {
	node := open(t, t.TempDir())
	m := rangeMap(t, node)
	good := func() *nodev1.AddBlockRequest { return addRequest(t, m, segments(t)[0]) }
	add := func(change func(*nodev1.AddBlockRequest)) error {
		request := good()
		change(request)
		_, err := node.Service().AddBlock(t.Context(), request)
		return err
	}
	read := func(request *nodev1.QueryRequest) error {
		_, err := node.Service().QueryBlocks(t.Context(), request)
		return err
	}
	get := func(change func(*nodev1.GetBlocksRequest)) error {
		request := &nodev1.GetBlocksRequest{GroupId: good().GroupId, Range: good().Range, Shard: segments(t)[0].GetShard(), Ids: []string{segments(t)[0].GetId()}}
		change(request)
		_, err := node.Service().GetBlocks(t.Context(), request)
		return err
	}
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	_, cancelled := node.Service().AddBlock(expired, good())
	for name, test := range map[string]struct {
		err  error
		want codes.Code
	}{
		"unknown group":      {add(func(r *nodev1.AddBlockRequest) { r.GroupId = 99 }), codes.Aborted},
		"no range":           {add(func(r *nodev1.AddBlockRequest) { r.Range = nil }), codes.InvalidArgument},
		"stale epoch":        {add(func(r *nodev1.AddBlockRequest) { r.Range.Epoch = 0 }), codes.Aborted},
		"newer epoch":        {add(func(r *nodev1.AddBlockRequest) { r.Range.Epoch = 9 }), codes.Unavailable},
		"other point":        {add(func(r *nodev1.AddBlockRequest) { r.Range.Lo++; r.Range.Hi++ }), codes.InvalidArgument},
		"not a block":        {add(func(r *nodev1.AddBlockRequest) { r.Block = []byte("x") }), codes.InvalidArgument},
		"no block":           {add(func(r *nodev1.AddBlockRequest) { r.Block = nil }), codes.InvalidArgument},
		"huge block":         {add(func(r *nodev1.AddBlockRequest) { r.Block = make([]byte, metastorev1.MaxBlockBytes+1) }), codes.InvalidArgument},
		"no request id":      {add(func(r *nodev1.AddBlockRequest) { r.RequestId = nil }), codes.InvalidArgument},
		"endless request id": {add(func(r *nodev1.AddBlockRequest) { r.RequestId = make([]byte, 1<<20) }), codes.InvalidArgument},
		"too many datasets": {add(func(r *nodev1.AddBlockRequest) {
			r.Block = append(r.Block, bytes.Repeat([]byte{0x52, 0}, metastorev1.MaxDatasets)...)
		}), codes.InvalidArgument},
		"overlapping ranges":          {read(&nodev1.QueryRequest{GroupId: 2, Selector: "{}", Ranges: []*clusterv1.RangeRef{{Keyspace: 2, Hi: 9}, {Keyspace: 2, Lo: 8}}}), codes.InvalidArgument},
		"cancelled":                   {cancelled, codes.Canceled},
		"bad selector":                {read(&nodev1.QueryRequest{GroupId: 2, Selector: "{"}), codes.InvalidArgument},
		"query without range":         {read(&nodev1.QueryRequest{GroupId: 2, Selector: "{}", Ranges: []*clusterv1.RangeRef{nil}}), codes.InvalidArgument},
		"bad id":                      {get(func(r *nodev1.GetBlocksRequest) { r.Ids[0] = "x" }), codes.InvalidArgument},
		"wrong span":                  {get(func(r *nodev1.GetBlocksRequest) { r.Shard += 1000 }), codes.InvalidArgument},
		"the directory has no blocks": {get(func(r *nodev1.GetBlocksRequest) { r.GroupId = clusterv1.DirectoryGroup }), codes.Aborted},
	} {
		if status.Code(test.err) != test.want {
			t.Errorf("%s: %v, want %s", name, test.err, test.want)
		}
	}
	if _, err := node.Service().AddBlock(t.Context(), good()); err != nil {
		t.Errorf("the node does not serve any more: %v", err)
	}
}

func TestNodeRefusesForeignData(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	closeNode(t, open(t, ours))
	closeNode(t, open(t, theirs))
	ourIdentity, err := os.ReadFile(filepath.Join(ours, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := os.ReadFile(filepath.Join(theirs, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(ours, "identity.json"), identity, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, ours, prometheus.NewRegistry()); !errors.Is(err, shardgroup.ErrDataDir) {
		t.Errorf("another cluster's identity over our data: %v", err)
	}
	if err := os.WriteFile(filepath.Join(ours, "identity.json"), ourIdentity, 0o644); err != nil {
		t.Fatal(err)
	}
	// Half a node: the Raft log or the store is lost.
	for _, half := range []string{"raft", "store"} {
		whole, aside := filepath.Join(ours, half), filepath.Join(ours, "aside")
		if err := os.Rename(whole, aside); err != nil {
			t.Fatal(err)
		}
		if _, err := tryOpen(t, ours, prometheus.NewRegistry()); !errors.Is(err, shardgroup.ErrDataDir) {
			t.Errorf("without %s: %v", half, err)
		}
		if err := errors.Join(os.RemoveAll(whole), os.Rename(aside, whole)); err != nil {
			t.Fatal(err)
		}
	}
	closeNode(t, open(t, ours)) // nothing was harmed
	wantHalvesOfOneTime(t, ours)
	// Another cluster's store under our identity and Raft log.
	if err := os.Rename(filepath.Join(ours, "store"), filepath.Join(ours, "aside")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(ours, "store"), os.DirFS(filepath.Join(theirs, "store"))); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, ours, prometheus.NewRegistry()); !errors.Is(err, shardgroup.ErrDataDir) {
		t.Errorf("another cluster's store: %v", err)
	}
	// Data without an identity.
	mixed := t.TempDir()
	for from, name := range map[string]string{filepath.Join(theirs, "store"): "store", filepath.Join(theirs, "raft"): "raft"} {
		if err := os.CopyFS(filepath.Join(mixed, name), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tryOpen(t, mixed, prometheus.NewRegistry()); !errors.Is(err, shardgroup.ErrDataDir) || !strings.Contains(err.Error(), "identity.json") {
		t.Errorf("data without identity: %v", err)
	}
}

// wantHalvesOfOneTime puts an older copy of one half under a newer other half.
func wantHalvesOfOneTime(t *testing.T, dir string) {
	t.Helper()
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	node := open(t, dir)
	m := rangeMap(t, node)
	for _, block := range segments(t) {
		if _, err := node.Service().AddBlock(t.Context(), addRequest(t, m, block)); err != nil {
			t.Fatal(err)
		}
	}
	if err := node.CompactLogs(); err != nil {
		t.Fatal(err)
	}
	closeNode(t, node)
	for _, half := range []string{"raft", "store"} {
		mixed := t.TempDir()
		if err := os.CopyFS(mixed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(mixed, half)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(mixed, half), os.DirFS(filepath.Join(before, half))); err != nil {
			t.Fatal(err)
		}
		if _, err := tryOpen(t, mixed, prometheus.NewRegistry()); !errors.Is(err, shardgroup.ErrDataDir) || !strings.Contains(err.Error(), "older than") {
			t.Errorf("an older %s: %v", half, err)
		}
	}
	again := open(t, dir)
	wantBlocks(t, again, m, segments(t))
	closeNode(t, again)
}

// TestUnreadableState: a read that the disk fails goes to another replica, and any other
// panic stays one.
func TestUnreadableState(t *testing.T) {
	node := open(t, t.TempDir())
	failing := func(fault any) statemachine.Query {
		return statemachine.Inspect{Fn: func(statemachine.View) error { panic(fault) }}
	}
	_, err := node.Read(t.Context(), 2, failing(fmt.Errorf("%w: %w", kv.ErrRead, syscall.EIO)))
	if !errors.Is(err, shardgroup.ErrNotReady) || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
	for _, fault := range []any{errors.New("a bug"), "a bug"} {
		func() {
			defer func() {
				if r := recover(); r != fault {
					t.Errorf("%v became %v", fault, r)
				}
			}()
			answer, err := node.Read(t.Context(), 2, failing(fault))
			t.Errorf("%v: %v, %v", fault, answer, err)
		}()
	}
}
