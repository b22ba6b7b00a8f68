package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb/pyroscopedbtest"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var importBlocks = flag.Int("import.blocks", 2000, "blocks that TestImportRate imports")

// importing runs the command against a server; it returns its report.
func importing(t *testing.T, s *serverProcess, wantCode int, args ...string) importView {
	t.Helper()
	var out, errors bytes.Buffer
	code := run(t.Context(), streams{in: strings.NewReader(""), out: &out, err: &errors, env: func(string) (string, bool) { return "", false }},
		append([]string{"import", "-o", "json", "-addr", s.conn.Target()}, args...))
	var view importView
	if err := json.Unmarshal(out.Bytes(), &view); err != nil && wantCode != exitUsage {
		t.Fatalf("%v: %s\n%s", err, out.String(), errors.String())
	}
	if code != wantCode {
		t.Fatalf("exit code %d, want %d\n%s\n%s", code, wantCode, out.String(), errors.String())
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("%s", errors.String())
	}
	return view
}

func source(t *testing.T, fill func(w *pyroscopedbtest.Writer)) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "metastore.boltdb")
	w, err := pyroscopedbtest.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func tombstoneOf(name string, blocks ...*metastorev1.BlockMeta) *metastorev1.Tombstones {
	first := blocks[0]
	tombstone := &metastorev1.BlockTombstones{Name: name, Tenant: first.TenantName(), Shard: first.Shard, CompactionLevel: first.CompactionLevel}
	for _, block := range blocks {
		tombstone.Blocks = append(tombstone.Blocks, block.Id)
	}
	return &metastorev1.Tombstones{Blocks: tombstone}
}

// held lists the names of the tombstones that the cluster holds.
func (s *serverProcess) held() []string {
	s.t.Helper()
	answer, err := s.admin.ListTombstones(s.t.Context(), &adminv1.ListTombstonesRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, group := range answer.GetGroups() {
		for _, info := range group.GetList().GetTombstones() {
			names = append(names, info.GetTombstone().GetBlocks().GetName()+info.GetTombstone().GetShard().GetName())
		}
	}
	slices.Sort(names)
	return names
}

// paused lists the groups whose compaction is paused.
func (s *serverProcess) paused() []uint64 {
	s.t.Helper()
	answer, err := s.admin.CompactionStatus(s.t.Context(), &adminv1.CompactionStatusRequest{Limit: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []uint64
	for _, group := range answer.GetGroups() {
		if group.GetStatus().GetPaused() {
			ids = append(ids, group.GetGroupId())
		}
	}
	return ids
}

func blocksIn(t *testing.T, s *serverProcess, like *metastorev1.BlockMeta, blocks ...*metastorev1.BlockMeta) []*metastorev1.BlockMeta {
	t.Helper()
	list := &metastorev1.BlockList{Tenant: like.TenantName(), Shard: like.Shard}
	for _, block := range blocks {
		list.Blocks = append(list.Blocks, block.Id)
	}
	answer, err := s.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: list})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetBlocks()
}

// All that a metastore holds arrives as it was, real blocks too, once; what is damaged
// is told; what is to be deleted still is, and no more; and again nothing changes.
func TestImport(t *testing.T) {
	s := startServe(t, t.TempDir())
	real := readBlocks(t, "../../proto/testdata/blocks/*.pb")
	made := make([]*metastorev1.BlockMeta, 300)
	for n := range made {
		made[n] = numberedBlock(uint64(n))
	}
	dead := []*metastorev1.BlockMeta{numberedBlock(1000), numberedBlock(1000 + 2*7*13)} // of one tenant and shard
	carried := numberedBlock(3001)
	bad := numberedBlock(5000)
	early := time.UnixMilli(1735787040000).Add(-48 * time.Hour).Truncate(6 * time.Hour)
	shardOf := func(block *metastorev1.BlockMeta, start time.Time) *metastorev1.Tombstones {
		return &metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{
			Name: "s", Timestamp: start.UnixNano(), Duration: int64(6 * time.Hour), Tenant: block.TenantName(), Shard: block.Shard,
		}}
	}
	file := source(t, func(w *pyroscopedbtest.Writer) {
		for _, block := range slices.Concat(real, made) {
			w.Add(block)
		}
		w.Queue(made[0]) // a stale duplicate, of a block that was added again
		w.Queue(dead[0]) // and one of a block that is gone
		w.Add(dead[1])   // came back, late
		w.Tombstone(tombstoneOf("job", dead...))
		w.Job("other", []string{made[0].Id}, tombstoneOf("carried", carried))
		w.Tombstone(shardOf(made[0], early))
		w.Tombstone(shardOf(made[1], early.Add(72*time.Hour))) // would take what is live
		w.Bucket(pyroscopedbtest.Shard(bad)...).Put([]byte(bad.Id), []byte{0xff})
	})
	snapshot := filepath.Join(t.TempDir(), "3-4711-1735776000000")
	if err := pyroscopedbtest.Snapshot(file, snapshot, true); err != nil {
		t.Fatal(err)
	}
	want := uint64(len(real) + len(made))

	planned := importing(t, s, exitOK, "-boltdb", file, "-dry-run")
	if got := planned.Source; got.Blocks != want || got.BuriedBlocks != 1 || got.DamagedRows != 1 || got.QueuedStale != 1 || got.BlockTombstones != 2 || got.ShardTombstones != 2 || !planned.DryRun {
		t.Errorf("planned: %+v", got)
	}
	importing(t, s, exitFailure, "-boltdb", file, "-strict")
	if s.blocksHeld() != 0 || len(s.held()) != 0 || len(s.paused()) != 0 {
		t.Errorf("a dry run, or a refusal, changed something")
	}
	importing(t, s, exitFailure, "-boltdb", file, "-verify-only")

	// Damaged rows are told at the end, and by the code.
	done := importing(t, s, exitFailure, "-snapshot", snapshot, "-unpack-dir", t.TempDir(), "-batch", "37")
	if done.Blocks.Added != want || done.Blocks.Known != 0 || !strings.Contains(done.Error, "not everything") {
		t.Errorf("imported: %+v, %s", done.Blocks, done.Error)
	}
	if v := done.Verified; v == nil || v.Equal != want || v.Others != 0 || v.SourceSum != v.ClusterSum || v.PlacesDiffer != 0 {
		t.Errorf("verified: %+v", v)
	}
	if got := done.Tombstones; got.Added != 3 || got.Live != 1 || got.Refused != 0 {
		t.Errorf("tombstones: %+v", got)
	}
	check := func() {
		t.Helper()
		if s.blocksHeld() != want {
			t.Errorf("the cluster holds %d blocks, want %d", s.blocksHeld(), want)
		}
		name := fmt.Sprintf("%s (6h0m0s)-T%s-S%d", early.UTC().Format("2006-01-02 15:04:05"), made[0].TenantName(), made[0].Shard)
		if got := s.held(); !slices.Equal(got, []string{name, "imported: carried", "imported: job"}) {
			t.Errorf("held: %q", got)
		}
		if got := s.paused(); len(got) != 0 {
			t.Errorf("paused: %v", got)
		}
	}
	check()
	wantAll(t, s, slices.Concat(real, made))
	// What a tombstone names does not come back.
	for _, block := range []*metastorev1.BlockMeta{dead[0], carried} {
		if err := s.add(block); err != nil {
			t.Fatal(err)
		}
	}
	check()

	again := importing(t, s, exitFailure, "-boltdb", file)
	if again.Blocks.Added != 0 || again.Blocks.Known != want || again.Tombstones.Held != 3 || again.Verified.Equal != want {
		t.Errorf("again: %+v", again.Report)
	}
	check()

	// Half of it lost, some of it different: an import adds what is missing, and tells
	// what it cannot change.
	other := numberedBlock(9)
	other.Size = 1
	half := source(t, func(w *pyroscopedbtest.Writer) {
		for n := range 320 {
			if n == 9 {
				w.Add(other)
			} else if n != 5 {
				w.Add(numberedBlock(uint64(n)))
			}
		}
	})
	if got := importing(t, s, exitFailure, "-boltdb", half); !strings.Contains(got.Error, "does not have: ") || got.Blocks.Added != 0 || len(s.paused()) != 0 {
		t.Errorf("blocks of others: %s, %+v", got.Error, got.Report)
	}
	got := importing(t, s, exitFailure, "-boltdb", half, "-merge")
	if v := got.Verified; got.Blocks.Added != 20 || v == nil || v.Different != 1 || v.Missing != 0 || len(v.Differences) != 1 || v.Others != uint64(len(real)+1) {
		t.Errorf("merged: %+v, %+v", got.Blocks, v)
	}
	if len(s.paused()) == 0 || !strings.Contains(got.Error, "compaction stays paused") {
		t.Errorf("a failed import let compaction go on: %s", got.Error)
	}
	if held := blocksIn(t, s, other, other); len(held) != 1 || held[0].Size != 9 {
		t.Errorf("a stored block was replaced: %v", held)
	}
}

// Blocks that jobs of the old metastore were about are planned anew; what its workers
// still say about those jobs is ignored, whatever their names and tokens.
func TestImportForgetsJobs(t *testing.T) {
	s := startServe(t, t.TempDir())
	var segments []*metastorev1.BlockMeta
	var ids []string
	for n := range 20 {
		block := numberedBlock(1)
		block.Id = numberedBlock(uint64(n * 14)).Id
		segments, ids = append(segments, block), append(ids, block.Id)
	}
	slices.Sort(ids)
	name := metastorev1.JobName(ids, "", segments[0].Shard, 0)
	file := source(t, func(w *pyroscopedbtest.Writer) {
		for _, block := range segments {
			w.Add(block)
		}
		w.Job(name, ids)
	})
	importing(t, s, exitOK, "-boltdb", file)
	result := numberedBlock(2)
	result.CompactionLevel, result.Shard = 1, segments[0].Shard
	report := func(status metastorev1.CompactionJobStatus) *metastorev1.PollCompactionJobsResponse {
		t.Helper()
		answer, err := s.PollCompactionJobs(t.Context(), &metastorev1.PollCompactionJobsRequest{StatusUpdates: []*metastorev1.CompactionJobStatusUpdate{{
			Name: name, Token: 4711, Status: status, CompactedBlocks: &metastorev1.CompactedBlocks{
				SourceBlocks: &metastorev1.BlockList{Shard: segments[0].Shard, Blocks: ids}, NewBlocks: []*metastorev1.BlockMeta{result},
			},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	report(metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS)
	// The slot of a job that is not its own any more is free: the same blocks make a job
	// of the same name, which the worker may get, with a token of its own.
	var job *metastorev1.CompactionJob
	for deadline := time.Now().Add(20 * time.Second); job == nil; {
		answer := report(metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS)
		for _, offered := range answer.GetCompactionJobs() {
			job = offered
		}
		if slices.ContainsFunc(answer.GetAssignments(), func(a *metastorev1.CompactionJobAssignment) bool { return a.GetToken() == 4711 }) {
			t.Fatalf("the old job was renewed: %v", answer)
		}
		if time.Now().After(deadline) {
			t.Fatal("the blocks are not compacted again")
		}
	}
	if job.Name != name || !slices.Equal(job.SourceBlocks, ids) {
		t.Errorf("planned: %v", job)
	}
	report(metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS)
	if got := blocksIn(t, s, segments[0], segments...); len(got) != len(segments) {
		t.Errorf("an old worker's result took %d blocks", len(segments)-len(got))
	}
}

// An import that is killed in the middle is begun again; the server, too.
func TestImportSurvivesKills(t *testing.T) {
	dir := t.TempDir()
	var blocks []*metastorev1.BlockMeta
	file := source(t, func(w *pyroscopedbtest.Writer) {
		for n := range 3000 {
			blocks = append(blocks, numberedBlock(uint64(n)))
			w.Add(blocks[n])
		}
		w.Tombstone(tombstoneOf("job", numberedBlock(9000)))
	})
	s := startServe(t, dir)
	ended := make(chan int)
	go func() {
		var discard bytes.Buffer
		ended <- run(t.Context(), streams{out: &discard, err: &discard, env: func(string) (string, bool) { return "", false }},
			[]string{"import", "-addr", s.conn.Target(), "-boltdb", file, "-batch", "20", "-concurrency", "2", "-retry", "0s"})
	}()
	for deadline := time.Now().Add(20 * time.Second); s.blocksHeld() < 500; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is imported")
		}
	}
	s.kill()
	if code := <-ended; code != exitFailure {
		t.Errorf("exit code %d", code)
	}
	s = startServe(t, dir)
	if len(s.paused()) == 0 {
		t.Error("compaction goes on in the middle of an import")
	}
	got := importing(t, s, exitOK, "-boltdb", file)
	if got.Blocks.Added == 0 || got.Blocks.Known < 480 || got.Blocks.Added+got.Blocks.Known != 3000 || got.Verified.Equal != 3000 {
		t.Errorf("begun again: %+v", got.Report)
	}
	wantAll(t, s, blocks)
	if n := len(got.PausedBefore); n == 0 || n != len(s.paused()) {
		t.Errorf("%d groups are said to be paused still, %d are", n, len(s.paused()))
	}
}

// Whoever queries, or compacts, cannot tell an import from adds.
func TestImportEqualsAdding(t *testing.T) {
	imported, added := startServe(t, t.TempDir()), startServe(t, t.TempDir())
	real := readBlocks(t, "../../proto/testdata/blocks/*.pb")
	importing(t, imported, exitOK, "-boltdb", source(t, func(w *pyroscopedbtest.Writer) {
		for _, block := range real {
			w.Add(block)
		}
	}))
	for _, block := range real {
		if err := added.add(block); err != nil {
			t.Fatal(err)
		}
	}
	waiting := func(s *serverProcess) map[uint32]uint64 {
		answer, err := s.admin.CompactionStatus(t.Context(), &adminv1.CompactionStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		blocks := map[uint32]uint64{}
		for _, level := range answer.GetLevels() {
			blocks[level.GetLevel()] += level.GetBlocksQueued()
		}
		return blocks
	}
	if diff := cmp.Diff(waiting(added), waiting(imported), protocmp.Transform()); diff != "" {
		t.Errorf("other blocks wait for compaction:\n%s", diff)
	}
	compareAll(t, imported, real)
}

// TestImportRate tells how fast an import is.
func TestImportRate(t *testing.T) {
	began := time.Now()
	file := source(t, func(w *pyroscopedbtest.Writer) {
		for n := range *importBlocks {
			w.Add(numberedBlock(uint64(n)))
			if n%20_000 == 19_999 {
				w.Commit()
			}
		}
	})
	t.Logf("the source was written in %s", time.Since(began).Round(time.Millisecond))
	s := startServe(t, t.TempDir(), "-store.memtable-bytes", "64MiB")
	view := importing(t, s, exitOK, "-boltdb", file)
	t.Logf("%d blocks: added in %.1f s (%.0f/s), all in %.1f s", view.Blocks.Added, view.Blocks.Seconds, float64(view.Blocks.Added)/view.Blocks.Seconds, view.Seconds)
	if view.Verified.Equal != uint64(*importBlocks) {
		t.Errorf("verified: %+v", view.Verified)
	}
}
