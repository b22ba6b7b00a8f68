package importer_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/importer"
	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb/pyroscopedbtest"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

var start = time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC)

func newBlock(n int, tenant string, shard uint32) *metastorev1.BlockMeta {
	var id ulid.ULID
	if err := id.SetTime(uint64(start.Add(time.Duration(n) * time.Second).UnixMilli())); err != nil {
		panic(err)
	}
	id[15] = byte(n)
	return &metastorev1.BlockMeta{Id: id.String(), Shard: shard, Tenant: 1, StringTable: []string{"", tenant}}
}

// fakeCluster keeps blocks by id, and answers as it is told.
type fakeCluster struct {
	metastorev1.IndexServiceClient
	adminv1.AdminServiceClient
	mu     sync.Mutex
	blocks map[string]*metastorev1.BlockMeta
	paused bool
	// Calls in order, by name.
	calls []string
	// Called first; an error is the answer.
	before     func(call string) error
	refuse     map[string]bool // blocks and tombstones, by id and name
	live       map[string]bool // tombstones, by name
	tombstones []string
	expiring   []*nodev1.RetentionVerdict
	// Answers of groups that are about a fault, until it is over.
	leaderless int
}

// fault is what the group says, if it has no leader.
func (f *fakeCluster) fault() string {
	if f.leaderless == 0 {
		return ""
	}
	f.leaderless--
	return "no leader"
}

func (f *fakeCluster) called(call string) error {
	f.calls = append(f.calls, call)
	if f.before != nil {
		return f.before(call)
	}
	return nil
}

func (f *fakeCluster) GetBlockMetadata(_ context.Context, in *metastorev1.GetBlockMetadataRequest, _ ...grpc.CallOption) (*metastorev1.GetBlockMetadataResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &metastorev1.GetBlockMetadataResponse{}
	for _, id := range in.GetBlocks().GetBlocks() {
		if block := f.blocks[id]; block != nil && block.TenantName() == in.GetBlocks().GetTenant() && block.Shard == in.GetBlocks().GetShard() {
			out.Blocks = append(out.Blocks, block)
		}
	}
	return out, f.called("get")
}

func (f *fakeCluster) ImportBlocks(_ context.Context, in *adminv1.ImportBlocksRequest, _ ...grpc.CallOption) (*adminv1.ImportBlocksResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.called("add"); err != nil {
		return nil, err
	}
	out := &adminv1.ImportBlocksResponse{}
	for n, encoded := range in.GetBlocks() {
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded); err != nil {
			return nil, err
		}
		switch {
		case f.refuse[block.Id]:
			out.Refused = append(out.Refused, &adminv1.RefusedBlock{Index: uint32(n), Error: "refused " + block.Id})
		case f.blocks[block.Id] != nil:
			out.Known++
		default:
			f.blocks[block.Id] = block
			out.Added++
		}
	}
	return out, nil
}

func (f *fakeCluster) ImportTombstones(_ context.Context, in *adminv1.ImportTombstonesRequest, _ ...grpc.CallOption) (*adminv1.ImportTombstonesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &adminv1.ImportTombstonesResponse{}
	if err := f.called("bury"); err != nil {
		return nil, err
	}
	for _, tombstone := range in.GetTombstones() {
		name := tombstone.GetBlocks().GetName() + tombstone.GetShard().GetName()
		outcome := raftlogv1.ImportOutcome_IMPORT_OUTCOME_ADDED
		switch {
		case f.refuse[name]:
			return nil, status.Error(codes.InvalidArgument, "refused "+name)
		case f.live[name]:
			outcome = raftlogv1.ImportOutcome_IMPORT_OUTCOME_LIVE
		case slices.Contains(f.tombstones, name):
			outcome = raftlogv1.ImportOutcome_IMPORT_OUTCOME_HELD
		}
		out.Outcomes = append(out.Outcomes, outcome)
	}
	for n, tombstone := range in.GetTombstones() {
		if out.Outcomes[n] == raftlogv1.ImportOutcome_IMPORT_OUTCOME_ADDED {
			f.tombstones = append(f.tombstones, tombstone.GetBlocks().GetName()+tombstone.GetShard().GetName())
		}
	}
	return out, nil
}

// Status has a replica that lags behind: it does not count.
func (f *fakeCluster) Status(context.Context, *adminv1.StatusRequest, ...grpc.CallOption) (*adminv1.StatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	behind := ""
	if f.leaderless > 0 {
		behind = "down"
	}
	return &adminv1.StatusResponse{
		Map: &clusterv1.RangeMap{Groups: []*clusterv1.Group{{GroupId: 1}, {GroupId: 2}}},
		Nodes: []*adminv1.NodeStatus{
			{Replicas: []*nodev1.GroupReplica{{GroupId: 2, AppliedIndex: 5, Blocks: 99, Error: behind}}},
			{Replicas: []*nodev1.GroupReplica{{GroupId: 1, AppliedIndex: 9, Blocks: 7}, {GroupId: 2, AppliedIndex: 6, Blocks: uint64(len(f.blocks)), Error: f.fault()}}},
			{Error: "down"},
		},
	}, f.called("count")
}

func (f *fakeCluster) CompactionStatus(context.Context, *adminv1.CompactionStatusRequest, ...grpc.CallOption) (*adminv1.CompactionStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &adminv1.CompactionStatusResponse{Groups: []*adminv1.GroupCompaction{{GroupId: 2, Status: &nodev1.CompactionStatusResponse{Paused: f.paused}, Error: f.fault()}}}, f.called("state")
}

func (f *fakeCluster) ControlCompaction(_ context.Context, in *adminv1.ControlCompactionRequest, _ ...grpc.CallOption) (*adminv1.ControlCompactionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = in.GetAction() == nodev1.ControlCompactionRequest_ACTION_PAUSE
	return &adminv1.ControlCompactionResponse{Groups: []*adminv1.GroupControl{{GroupId: 2, Changed: true, Error: f.fault()}}}, f.called(map[bool]string{true: "pause", false: "resume"}[f.paused])
}

func (f *fakeCluster) PlanRetention(context.Context, *adminv1.PlanRetentionRequest, ...grpc.CallOption) (*adminv1.PlanRetentionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &adminv1.PlanRetentionResponse{Groups: []*adminv1.GroupRetention{{GroupId: 2, Plan: &nodev1.PlanRetentionResponse{Remove: f.expiring}}}}, f.called("plan")
}

func open(t *testing.T, fill func(w *pyroscopedbtest.Writer)) *pyroscopedb.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "metastore.boltdb")
	w, err := pyroscopedbtest.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := pyroscopedb.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newCluster() *fakeCluster {
	return &fakeCluster{blocks: map[string]*metastorev1.BlockMeta{}, refuse: map[string]bool{}, live: map[string]bool{}}
}

// run imports in small batches; it returns what was told, too.
func run(t *testing.T, db *pyroscopedb.DB, f *fakeCluster, edit func(*importer.Options)) (*importer.Report, []string, error) {
	t.Helper()
	var notes []string
	options := importer.Options{Concurrency: 2, BatchBlocks: 3, CallTimeout: time.Minute, RetryFor: time.Minute, Note: func(line string) { notes = append(notes, line) }}
	if edit != nil {
		edit(&options)
	}
	report, err := importer.New(db, importer.Cluster{Index: f, Admin: f}, options).Run(t.Context())
	return report, notes, err
}

func blocksOf(name string, blocks ...*metastorev1.BlockMeta) *metastorev1.Tombstones {
	tombstone := &metastorev1.BlockTombstones{Name: name, Tenant: blocks[0].TenantName(), Shard: blocks[0].Shard}
	for _, block := range blocks {
		tombstone.Blocks = append(tombstone.Blocks, block.Id)
	}
	return &metastorev1.Tombstones{Blocks: tombstone}
}

func shardOf(name, tenant string, shard uint32, start time.Time) *metastorev1.Tombstones {
	return &metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{Name: name, Tenant: tenant, Shard: shard, Timestamp: start.UnixNano(), Duration: int64(6 * time.Hour)}}
}

// Blocks come while compaction is paused, and before the tombstones; what fails for a
// moment is tried again.
func TestOrder(t *testing.T) {
	db := open(t, func(w *pyroscopedbtest.Writer) {
		for n := range 10 {
			w.Add(newBlock(n, "acme", 1))
		}
		w.Tombstone(blocksOf("job", newBlock(50, "acme", 1)))
	})
	f := newCluster()
	failed := map[string]bool{}
	f.before = func(call string) error {
		if !failed[call] {
			failed[call] = true
			return status.Error(codes.Unavailable, "a moment")
		}
		return nil
	}
	report, notes, err := run(t, db, f, nil)
	if err != nil || len(notes) > 0 {
		t.Fatalf("%v, %q", err, notes)
	}
	if report.Blocks.Added != 10 || report.Tombstones.Added != 1 || report.Verified.Equal != 10 || report.Verified.Others != 0 {
		t.Errorf("%+v", report)
	}
	if f.paused {
		t.Error("compaction is still paused")
	}
	if got := strings.Join(slices.Compact(f.calls), " "); got != "state pause count add get count bury plan resume" {
		t.Errorf("calls: %s", got)
	}
}

// Who paused compaction before is not known. It stays so, and not in silence: it may
// have been an import that was killed.
func TestPausedBefore(t *testing.T) {
	db := open(t, func(w *pyroscopedbtest.Writer) { w.Add(newBlock(1, "acme", 1)) })
	f := newCluster()
	f.paused = true
	report, notes, err := run(t, db, f, nil)
	if err != nil || !f.paused || len(report.PausedBefore) != 1 || len(report.PausedHere) != 0 {
		t.Errorf("%v, paused: %v, %+v", err, f.paused, report)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "skerry compaction resume") {
		t.Errorf("%q", notes)
	}
}

// A group may be without a leader whenever it is asked: that passes.
func TestElections(t *testing.T) {
	db := open(t, func(w *pyroscopedbtest.Writer) { w.Add(newBlock(1, "acme", 1)) })
	for _, call := range []string{"state", "pause", "count", "add", "resume"} {
		f := newCluster()
		f.before = func(name string) error {
			if name == call && !slices.Contains(f.calls[:len(f.calls)-1], name) {
				f.leaderless = 2
				return status.Error(codes.Unavailable, "a moment")
			}
			return nil
		}
		if report, _, err := run(t, db, f, nil); err != nil || f.paused || report.Verified.Equal != 1 {
			t.Errorf("%s: %v, paused: %v", call, err, f.paused)
		}
	}
}

// What is refused is told and left out; a refused tombstone costs no other.
func TestRefusals(t *testing.T) {
	db := open(t, func(w *pyroscopedbtest.Writer) {
		for n := range 10 {
			w.Add(newBlock(n, "acme", 1))
		}
		for n := range 5 {
			w.Tombstone(blocksOf(fmt.Sprint("t", n), newBlock(50+n, "acme", 1)))
		}
	})
	f := newCluster()
	f.refuse[newBlock(4, "acme", 1).Id], f.refuse["t2"], f.live["t3"] = true, true, true
	report, notes, err := run(t, db, f, nil)
	if !errors.Is(err, importer.ErrLeftOut) || f.paused {
		t.Errorf("%v, paused: %v", err, f.paused)
	}
	if report.Blocks.Added != 9 || report.Blocks.Refused != 1 || report.Tombstones != (importer.TombstonesReport{Added: 3, Live: 1, Refused: 1}) {
		t.Errorf("%+v, %+v", report.Blocks, report.Tombstones)
	}
	if len(notes) != 3 || !strings.Contains(notes[0], "refused "+newBlock(4, "acme", 1).Id) {
		t.Errorf("told: %q", notes)
	}
}

// A tombstone of a shard takes all that is older: none is handed over while the source
// has rows there, readable or not.
func TestShardTombstonesSpareRows(t *testing.T) {
	damaged := newBlock(3, "other", 1)
	db := open(t, func(w *pyroscopedbtest.Writer) {
		w.Add(newBlock(1, "acme", 1))
		w.Bucket(pyroscopedbtest.Shard(damaged)...).Put([]byte(damaged.Id), []byte{0xff})
		w.Tombstone(shardOf("live", "acme", 1, start.Add(12*time.Hour)))
		w.Tombstone(shardOf("same partition", "acme", 1, start))
		w.Tombstone(shardOf("damaged", "other", 1, start))
		w.Tombstone(shardOf("before", "acme", 1, start.Add(-6*time.Hour)))
		w.Tombstone(shardOf("another shard", "acme", 2, start))
	})
	f := newCluster()
	report, _, err := run(t, db, f, nil)
	if !errors.Is(err, importer.ErrLeftOut) || report.Tombstones.Live != 3 {
		t.Errorf("%v, %+v", err, report.Tombstones)
	}
	if !slices.Equal(f.tombstones, []string{"before", "another shard"}) {
		t.Errorf("handed over: %q", f.tombstones)
	}
	// If a bucket's name is damaged, nobody knows whose blocks are in it.
	db = open(t, func(w *pyroscopedbtest.Writer) {
		w.Bucket("partition", "odd", "acme", "\x00\x00\x00\x02")
		w.Tombstone(shardOf("s", "acme", 1, start))
		w.Tombstone(blocksOf("b", newBlock(1, "acme", 1)))
	})
	f = newCluster()
	if report, _, _ = run(t, db, f, nil); report.Tombstones.Live != 1 || !slices.Equal(f.tombstones, []string{"b"}) {
		t.Errorf("%+v, handed over: %q", report.Tombstones, f.tombstones)
	}
}

// Errors that stay end the import, leave compaction paused, and say so.
func TestFailures(t *testing.T) {
	db := open(t, func(w *pyroscopedbtest.Writer) {
		for n := range 10 {
			w.Add(newBlock(n, "acme", 1))
		}
	})
	for _, call := range []string{"state", "pause", "count", "add", "get", "resume"} {
		f := newCluster()
		f.before = func(name string) error {
			if name == call {
				return status.Error(codes.PermissionDenied, "not you")
			}
			return nil
		}
		_, _, err := run(t, db, f, nil)
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", call, err)
		}
		if told := strings.Contains(fmt.Sprint(err), "compaction stays paused"); told != (call != "state") {
			t.Errorf("%s: the pause is told: %v", call, err)
		}
	}
	f := newCluster()
	f.before = func(string) error { return status.Error(codes.Unavailable, "down") }
	if _, _, err := run(t, db, f, func(o *importer.Options) { o.RetryFor = 0 }); status.Code(err) != codes.Unavailable || len(f.calls) != 1 {
		t.Errorf("%v after %q", err, f.calls)
	}
}

// What would go at once for want of settings is told; that it cannot be told is no
// failure.
func TestExpiring(t *testing.T) {
	db := open(t, func(w *pyroscopedbtest.Writer) { w.Add(newBlock(1, "acme", 1)) })
	f := newCluster()
	f.expiring = []*nodev1.RetentionVerdict{{Blocks: 3}, {Blocks: 4}}
	report, notes, err := run(t, db, f, nil)
	if err != nil || report.Expiring != (importer.ExpiringReport{Shards: 2, Blocks: 7}) || len(notes) != 1 || !strings.Contains(notes[0], "-retention-period") {
		t.Errorf("%v, %+v, %q", err, report.Expiring, notes)
	}
	f = newCluster()
	f.before = func(call string) error {
		if call == "plan" {
			return status.Error(codes.Internal, "no plan")
		}
		return nil
	}
	if _, notes, err = run(t, db, f, nil); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "no plan") {
		t.Errorf("%v, %q", err, notes)
	}
}

// A verification notices a block that is not there, one that differs, and one too many.
func TestVerify(t *testing.T) {
	db := open(t, func(w *pyroscopedbtest.Writer) {
		for n := range 10 {
			w.Add(newBlock(n, "acme", uint32(n%2)))
		}
	})
	for name, spoil := range map[string]func(*fakeCluster){
		"missing":   func(f *fakeCluster) { delete(f.blocks, newBlock(3, "acme", 1).Id) },
		"different": func(f *fakeCluster) { f.blocks[newBlock(3, "acme", 1).Id].Size++ },
		"others":    func(f *fakeCluster) { f.blocks["other"] = newBlock(99, "other", 1) },
	} {
		f := newCluster()
		if _, _, err := run(t, db, f, nil); err != nil {
			t.Fatal(err)
		}
		verifyOnly := func(o *importer.Options) { o.VerifyOnly = true }
		f.calls = nil
		if _, _, err := run(t, db, f, verifyOnly); err != nil || slices.Contains(f.calls, "add") || slices.Contains(f.calls, "pause") {
			t.Errorf("good: %v after %q", err, f.calls)
		}
		spoil(f)
		report, _, err := run(t, db, f, verifyOnly)
		if err == nil {
			t.Errorf("%s: not noticed", name)
		}
		if v := report.Verified; name != "others" && (v.PlacesDiffer != 1 || v.Missing+v.Different != 1 || v.SourceSum == v.ClusterSum) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
