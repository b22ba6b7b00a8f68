package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/cmd/internal/rebuild"
	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
	"github.com/skerrydb/skerry/storage/objects/objectstest"
)

var rebuildCopies = flag.Int("rebuild.copies", 1, "copies of the real blocks, each in shards of its own, for TestRebuildFromS3")

// TestRebuildFromS3 loses all metadata of a cluster whose blocks are in S3, and
// wants every answer back.
func TestRebuildFromS3(t *testing.T) {
	server := objectstest.StartS3(t)
	options := server.Bucket(t)
	bucket, err := objects.OpenS3(options, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	before := startServe(t, t.TempDir(), "-retention-period", "0")
	var blocks []*metastorev1.BlockMeta
	for i := range *rebuildCopies {
		blocks = append(blocks, liveBlocks(t, uint32(i))...)
	}
	storeAndAdd(t, bucket, before, blocks)
	// It was compacted and is to be deleted: it must not come back beside what was
	// made of it.
	leftOver := proto.Clone(blocks[slices.IndexFunc(blocks, func(b *metastorev1.BlockMeta) bool { return b.CompactionLevel == 1 })]).(*metastorev1.BlockMeta)
	leftOver.CompactionLevel, leftOver.Tenant = 0, 0
	storeObject(t, bucket, leftOver)
	want := before.answers(t, blocks)
	before.stop()

	dir := t.TempDir()
	after := startServe(t, dir, "-retention-period", "0", "-storage.backend", "s3", "-storage.s3.endpoint", options.Endpoint, "-storage.s3.bucket-name", options.Bucket,
		"-storage.s3.region", options.Region, "-storage.s3.insecure", "-storage.s3.access-key-id", options.AccessKeyID, "-storage.s3.secret-access-key", options.SecretAccessKey)
	scan := func(command string, exit int, more ...string) scanReport {
		t.Helper()
		return scanObjects(t, exit, append(append(strings.Fields(command), "-addr", after.conn.Target(), "-o", "json", "-min-age", "0", "-storage.backend", "s3",
			"-storage.s3.endpoint", options.Endpoint, "-storage.s3.bucket-name", options.Bucket, "-storage.s3.region", options.Region, "-storage.s3.insecure",
			"-storage.s3.access-key-id", options.AccessKeyID, "-storage.s3.secret-access-key", options.SecretAccessKey), more...)...)
	}
	n := uint64(len(blocks))
	if got := scan("check objects", 1); got.Verdicts[rebuild.Missing] != n || got.Verdicts[rebuild.Compacted] != 1 {
		t.Errorf("check of an empty cluster: %+v", got.Counts)
	}
	dry := scan("rebuild", 0, "-dry-run")
	if dry.Verdicts[rebuild.Missing] != n || after.blocksHeld() != 0 {
		t.Errorf("dry run: %+v", dry.Counts)
	}
	notes := filepath.Join(t.TempDir(), "notes")
	got := scan("rebuild", 0, "-resume", notes)
	if got.Verdicts[rebuild.Added] != n || got.Verdicts[rebuild.Compacted] != 1 || len(got.Verdicts) != 2 {
		t.Errorf("rebuild: %+v", got.Counts)
	}
	t.Logf("%d footers were read in %.2fs, %.0f/s; %d blocks came back in %.2fs, %.0f/s",
		dry.Footers, dry.Seconds, float64(dry.Footers)/dry.Seconds, n, got.Seconds, float64(n)/got.Seconds)
	if _, err := os.Stat(notes); err == nil {
		t.Error("the notes are left behind")
	}
	for i, answer := range after.answers(t, blocks) {
		if !proto.Equal(answer, want[i]) {
			t.Errorf("answer %d differs:\n%v\nbefore the loss:\n%v", i, answer, want[i])
		}
	}
	if got := scan("rebuild", 0); got.Verdicts[rebuild.Indexed] != n || got.Footers != 1 {
		t.Errorf("repeated: %+v", got.Counts)
	}
	if got := scan("check objects", 0); got.Verdicts[rebuild.Indexed] != n {
		t.Errorf("check: %+v", got.Counts)
	}
	lost := blockobject.Of(blockobject.Tenant(blocks[0]), blocks[0].Shard, blocks[0].CompactionLevel, parseID(t, blocks[0])).Name()
	if err := bucket.Delete(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	got = scan("check objects", 1)
	if got.Verdicts[rebuild.Absent] != 1 || !slices.Contains(got.Findings, rebuild.Finding{Verdict: rebuild.Absent, Object: lost}) {
		t.Errorf("check without an object: %+v, %v", got.Counts, got.Findings)
	}
}

// TestRebuildGoesOn interrupts a rebuild between two shards.
func TestRebuildGoesOn(t *testing.T) {
	folder, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := startServe(t, t.TempDir(), "-retention-period", "0")
	blocks := liveBlocks(t, 0)
	for _, block := range blocks {
		storeObject(t, folder, block)
	}
	notes := filepath.Join(t.TempDir(), "notes")
	all := map[uint32]bool{}
	for _, block := range blocks {
		all[block.Shard] = true
	}
	write := func(store string, shards ...uint32) {
		t.Helper()
		content, err := json.Marshal(resumeNotes{Store: store, Address: s.conn.Target(), Shards: shards})
		if err == nil {
			err = os.WriteFile(notes, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"rebuild", "-addr", s.conn.Target(), "-o", "json", "-min-age", "0", "-storage.filesystem.dir", folder.Path(), "-resume", notes}
	since := append(args[:len(args):len(args)], "-since", "2026-11-30T00:00:00Z")
	write("elsewhere")
	scanObjects(t, 1, args...)
	done := blocks[0].Shard
	write(folder.Path(), done)
	// A time told from now on back is a later one now: the shards that are left would
	// get less than those that are done.
	got := scanObjects(t, 0, since...)
	want := uint64(0)
	for _, block := range blocks {
		if block.Shard != done {
			want++
		}
	}
	if got.Resumed != 1 || got.Verdicts[rebuild.Added] != want || got.Shards != len(all) {
		t.Errorf("%+v, want %d added", got, want)
	}
	// Without the notes the rest comes back, too.
	if got = scanObjects(t, 0, args[:len(args)-2]...); got.Verdicts[rebuild.Added] != uint64(len(blocks))-want || got.Verdicts[rebuild.Indexed] != want {
		t.Errorf("%+v", got.Counts)
	}
}

// What a tenant deleted is in the bucket until workers come by. It stays deleted.
func TestRebuildLeavesTheDeletedAlone(t *testing.T) {
	folder, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := startServe(t, t.TempDir(), "-retention-period", "0", "-tenants.allow-delete")
	blocks := liveBlocks(t, 0)
	storeAndAdd(t, folder, s, blocks)
	const gone = "tenant-0"
	if _, err := s.DeleteTenant(t.Context(), &metastorev1.DeleteTenantRequest{TenantId: gone}); err != nil {
		t.Fatal(err)
	}
	of := uint64(0)
	for _, block := range blocks {
		if blockobject.Tenant(block) == gone {
			of++
		}
	}
	args := []string{"-addr", s.conn.Target(), "-o", "json", "-min-age", "0", "-storage.filesystem.dir", folder.Path()}
	if got := scanObjects(t, 0, append([]string{"check", "objects"}, args...)...); got.Verdicts[rebuild.Tombstoned] < of || of == 0 || len(got.Warnings) > 0 {
		t.Errorf("%+v, %d blocks of the tenant, %q", got.Counts, of, got.Warnings)
	}
	if got := scanObjects(t, 0, append([]string{"rebuild", "-doubtful"}, args...)...); got.Verdicts[rebuild.Added] > 0 {
		t.Errorf("%+v", got.Counts)
	}
	found, err := s.QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{gone}, EndTime: math.MaxInt32 * 1000, Query: "{}"})
	if err != nil || len(found.GetBlocks()) > 0 {
		t.Errorf("%d blocks came back, %v", len(found.GetBlocks()), err)
	}
}

// liveBlocks are the real blocks as if none was made of another: each level is in
// shards of its own, and each copy.
func liveBlocks(t *testing.T, i uint32) []*metastorev1.BlockMeta {
	t.Helper()
	blocks := readBlocks(t, *blockFiles)
	for _, block := range blocks {
		block.Shard += 1000*i + 100*block.CompactionLevel
	}
	return blocks
}

func parseID(t *testing.T, block *metastorev1.BlockMeta) [16]byte {
	t.Helper()
	id, err := metastorev1.ParseID(block.Id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// storeObject writes an object of a few bytes, and says so in the metadata.
func storeObject(t *testing.T, bucket objects.Bucket, block *metastorev1.BlockMeta) {
	t.Helper()
	block.MetadataOffset = 64
	footer, err := blockobject.Encode(block)
	if err != nil {
		t.Fatal(err)
	}
	block.Size = 64 + uint64(len(footer))
	name := blockobject.Of(blockobject.Tenant(block), block.Shard, block.CompactionLevel, parseID(t, block)).Name()
	if err := bucket.Put(t.Context(), name, append(make([]byte, 64), footer...)); err != nil {
		t.Fatal(err)
	}
}

func storeAndAdd(t *testing.T, bucket objects.Bucket, s *serverProcess, blocks []*metastorev1.BlockMeta) {
	t.Helper()
	next := make(chan *metastorev1.BlockMeta)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for block := range next {
				storeObject(t, bucket, block)
				if err := s.add(block); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, block := range blocks {
		next <- block
	}
	close(next)
	workers.Wait()
}

// answers asks for everything that can be asked for.
func (s *serverProcess) answers(t *testing.T, blocks []*metastorev1.BlockMeta) []proto.Message {
	t.Helper()
	var all []proto.Message
	note := func(answer proto.Message, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, answer)
	}
	ctx := t.Context()
	tenants, err := s.GetTenants(ctx, &metastorev1.GetTenantsRequest{})
	note(tenants, err)
	if len(tenants.GetTenantIds()) == 0 {
		t.Fatal("there is nothing to ask for")
	}
	for _, tenant := range tenants.GetTenantIds() {
		stats, err := s.GetTenant(ctx, &metastorev1.GetTenantRequest{TenantId: tenant})
		note(stats, err)
		oldest, newest := stats.GetStats().GetOldestProfileTime(), stats.GetStats().GetNewestProfileTime()
		for _, span := range [][2]int64{{0, math.MaxInt32 * 1000}, {oldest, (oldest + newest) / 2}, {newest, newest}} {
			for _, query := range []string{"{}", `{service_name=~".+"}`, `{__profile_type__=~".*cpu.*"}`} {
				request := &metastorev1.QueryMetadataRequest{
					TenantId: []string{tenant}, StartTime: span[0], EndTime: span[1], Query: query, Labels: []string{"service_name", "__profile_type__"},
				}
				found, err := s.QueryMetadata(ctx, request)
				note(found, err)
				labels, err := s.QueryMetadataLabels(ctx, &metastorev1.QueryMetadataLabelsRequest{
					TenantId: request.TenantId, StartTime: request.StartTime, EndTime: request.EndTime, Query: query, Labels: request.Labels,
				})
				note(labels, err)
			}
		}
	}
	for _, block := range blocks {
		found, err := s.GetBlockMetadata(ctx, &metastorev1.GetBlockMetadataRequest{
			Blocks: &metastorev1.BlockList{Tenant: blockobject.Tenant(block), Shard: block.Shard, Blocks: []string{block.Id}},
		})
		note(found, err)
		if len(found.GetBlocks()) != 1 {
			t.Fatalf("block %s is not there", block.Id)
		}
	}
	return all
}

// scanObjects runs a command that compares objects with the index.
func scanObjects(t *testing.T, exit int, args ...string) scanReport {
	t.Helper()
	var stderr strings.Builder
	command := exec.CommandContext(t.Context(), "skerry", args...)
	command.Stderr = &stderr
	command.WaitDelay = time.Second
	out, err := command.Output()
	if code := command.ProcessState.ExitCode(); code != exit {
		t.Fatalf("%s: exit code %d, want %d: %v\n%s%s", args[:2], code, exit, err, out, stderr.String())
	}
	var report scanReport
	if len(out) > 0 {
		if err := json.Unmarshal(out, &report); err != nil {
			t.Fatal(fmt.Errorf("%w: %s", err, out))
		}
	}
	return report
}
