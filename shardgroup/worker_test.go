package shardgroup_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/statemachine"
)

// testClock is a clock that tests set.
type testClock struct{ nanos atomic.Int64 }

func newClock(at time.Time) *testClock {
	c := &testClock{}
	c.nanos.Store(at.UnixNano())
	return c
}

func (c *testClock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *testClock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// blockTime is when made-up blocks were created, and the start of a partition.
var blockTime = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)

// sourceOf names what a dataset is made of, through all compactions.
const sourceLabel = "source"

// testBlock is a block with a dataset for each of some tenants; for the block's own
// tenant if there is one.
func testBlock(serial int, tenant string, shard, level uint32, tenants ...string) *metastorev1.BlockMeta {
	id := ulid.ULID{}
	if err := id.SetTime(uint64(blockTime.UnixMilli()) + uint64(serial)); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint32(id[8:], uint32(serial))
	if tenant != "" {
		tenants = []string{tenant}
	}
	var parts []part
	for _, owner := range tenants {
		parts = append(parts, part{owner, "cart", fmt.Sprintf("%d-%s", serial, owner), int64(id.Time())})
	}
	return makeBlock(id, tenant, shard, level, parts)
}

// part is a dataset, without what is alike in all.
type part struct {
	tenant, service, source string
	at                      int64
}

func makeBlock(id ulid.ULID, tenant string, shard, level uint32, parts []part) *metastorev1.BlockMeta {
	block := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: shard, CompactionLevel: level, Size: uint64(1000 * len(parts)),
		StringTable: []string{""}, MinTime: parts[0].at, MaxTime: parts[0].at,
	}
	ref := func(text string) int32 {
		at := slices.Index(block.StringTable, text)
		if at < 0 {
			at, block.StringTable = len(block.StringTable), append(block.StringTable, text)
		}
		return int32(at)
	}
	block.Tenant = ref(tenant)
	for _, p := range parts {
		block.MinTime, block.MaxTime = min(block.MinTime, p.at), max(block.MaxTime, p.at)
		block.Datasets = append(block.Datasets, &metastorev1.Dataset{
			Tenant: ref(p.tenant), Name: ref(p.service), MinTime: p.at, MaxTime: p.at, Size: 1000,
			Labels: []int32{2, ref("service_name"), ref(p.service), ref(sourceLabel), ref(p.source)},
		})
	}
	return block
}

// merge makes of a job's sources what a worker would: a block for each tenant,
// with ids that follow from the sources.
func merge(job *metastorev1.CompactionJob, sources []*metastorev1.BlockMeta) *metastorev1.CompactedBlocks {
	result := &metastorev1.CompactedBlocks{SourceBlocks: &metastorev1.BlockList{}}
	if len(sources) == 0 {
		return result
	}
	result.SourceBlocks.Tenant, result.SourceBlocks.Shard = job.GetTenant(), job.GetShard()
	parts := map[string][]part{}
	for _, source := range sources {
		result.SourceBlocks.Blocks = append(result.SourceBlocks.Blocks, source.GetId())
		for _, dataset := range source.GetDatasets() {
			tenant := source.StringAt(dataset.GetTenant())
			parts[tenant] = append(parts[tenant], part{
				tenant, source.StringAt(dataset.GetName()), source.StringAt(dataset.GetLabels()[4]), dataset.GetMinTime(),
			})
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(parts)) {
		id := ulid.MustParse(sources[0].GetId())
		digest := sha256.Sum256(fmt.Append(nil, tenant, job.GetCompactionLevel(), result.SourceBlocks.Blocks))
		copy(id[6:], digest[:])
		result.NewBlocks = append(result.NewBlocks, makeBlock(id, tenant, job.GetShard(), job.GetCompactionLevel()+1, parts[tenant]))
	}
	return result
}

// sourcesOf reads the metadata of a job's sources.
func sourcesOf(ctx context.Context, t testing.TB, node *shardgroup.Node, m *clusterv1.Map, job *metastorev1.CompactionJob) ([]*metastorev1.BlockMeta, error) {
	t.Helper()
	keyspace, point := clusterv1.BlockPoint(job.GetTenant(), job.GetShard())
	piece := m.Cover(keyspace, point, point+1)[0]
	answer, err := node.Service().GetBlocks(ctx, &nodev1.GetBlocksRequest{
		GroupId: piece.GroupID, Range: piece.Ref, Tenant: job.GetTenant(), Shard: job.GetShard(), Ids: job.GetSourceBlocks(),
	})
	var blocks []*metastorev1.BlockMeta
	for _, encoded := range answer.GetBlocks() {
		blocks = append(blocks, decode(t, encoded))
	}
	return blocks, err
}

func add(t testing.TB, node *shardgroup.Node, m *clusterv1.Map, block *metastorev1.BlockMeta) bool {
	t.Helper()
	response, err := node.Service().AddBlock(t.Context(), addRequest(t, m, block))
	if err != nil {
		t.Fatal(err)
	}
	return response.GetAdded()
}

// poll polls the first data group.
func poll(t testing.TB, node *shardgroup.Node, capacity uint32, updates ...*metastorev1.CompactionJobStatusUpdate) *nodev1.PollCompactionResponse {
	t.Helper()
	return retried(t, func() (*nodev1.PollCompactionResponse, error) {
		return node.Service().PollCompaction(t.Context(), pollRequest(capacity, updates...))
	})
}

func pollRequest(capacity uint32, updates ...*metastorev1.CompactionJobStatusUpdate) *nodev1.PollCompactionRequest {
	return &nodev1.PollCompactionRequest{
		GroupId: dataGroup, Poll: &metastorev1.PollCompactionJobsRequest{JobCapacity: capacity, StatusUpdates: updates},
	}
}

func inProgress(assignment *metastorev1.CompactionJobAssignment) *metastorev1.CompactionJobStatusUpdate {
	return &metastorev1.CompactionJobStatusUpdate{
		Name: assignment.GetName(), Token: assignment.GetToken(), Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS,
	}
}

func success(assignment *metastorev1.CompactionJobAssignment, result *metastorev1.CompactedBlocks) *metastorev1.CompactionJobStatusUpdate {
	update := inProgress(assignment)
	update.Status, update.CompactedBlocks = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS, result
	return update
}

func applied(t testing.TB, node *shardgroup.Node) uint64 {
	t.Helper()
	answer, err := node.Read(t.Context(), dataGroup, statemachine.ReadStatus{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.(statemachine.Status).Applied
}

// wantEntries demands that a call makes so many Raft entries.
func wantEntries(t testing.TB, node *shardgroup.Node, want uint64, call func()) {
	t.Helper()
	before := applied(t, node)
	call()
	if got := applied(t, node) - before; got != want {
		t.Errorf("%d Raft entries, want %d", got, want)
	}
}

func compactionStatus(t testing.TB, node *shardgroup.Node) *nodev1.CompactionStatusResponse {
	t.Helper()
	return retried(t, func() (*nodev1.CompactionStatusResponse, error) {
		return node.Service().CompactionStatus(t.Context(), &nodev1.CompactionStatusRequest{GroupId: dataGroup})
	})
}

// holdTransfers keeps everything in the outboxes until it is released, at the end of
// the test at the latest.
//
// A node waits for what is held when it closes: so this comes after it was opened,
// and is let go before.
func holdTransfers(t testing.TB, held *gate) (release func()) {
	release = sync.OnceFunc(held.open)
	t.Cleanup(release)
	return release
}

// gate holds up the transfers of a node that is opened with it.
type gate struct{ opened chan struct{} }

func newGate() *gate { return &gate{make(chan struct{})} }

func (g *gate) open() { close(g.opened) }

// install is for openWith and openAt.
func (g *gate) install(o *shardgroup.Options) {
	o.OnTransfer(func(step string) {
		if step == "before send" {
			<-g.opened
		}
	})
}

// sourcesFound counts how often a query finds each source.
func sourcesFound(ctx context.Context, node *shardgroup.Node, m *clusterv1.Map, tenants ...string) (map[string]int, error) {
	query := everything(m)
	query.Tenants, query.Labels = tenants, []string{sourceLabel}
	answer, err := node.Service().QueryBlocks(ctx, query)
	counts := map[string]int{}
	accepted := map[string]uint64{}
	for _, mark := range answer.GetWatermarks().GetAccepted() {
		accepted[fmt.Sprint(mark.GetStream(), mark.GetTenant())] = mark.GetAccepted()
	}
	for _, encoded := range answer.GetBlocks() {
		// What waits in an outbox is hidden once it has arrived.
		if n := encoded.GetTransfer(); n > 0 && n <= accepted[fmt.Sprint(encoded.GetShard(), encoded.GetTenant())] {
			continue
		}
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded.GetBlock()); err != nil {
			return nil, err
		}
		for _, dataset := range block.GetDatasets() {
			for labels := dataset.GetLabels(); len(labels) > 0; labels = labels[1+2*labels[0]:] {
				counts[block.StringAt(labels[2])]++
			}
		}
	}
	return counts, err
}
