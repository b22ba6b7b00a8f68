package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var (
	fleetSegments = flag.Int("fleet.segments", 600, "segments that TestFleetReplacesEverySegmentOnce adds; a multiple of 60 leaves none behind")
	fleetSeed     = flag.Uint64("fleet.seed", 1, "seed of its kills")
)

const (
	fleetShards  = 3
	fleetTenants = 4
	fleetWorkers = 3
	datumLabel   = "datum"
	// A run that makes no progress for so long has failed.
	fleetPatience = 90 * time.Second
)

// fleet is a server, workers in processes of their own, and what clients know.
type fleet struct {
	t      *testing.T
	dir    string
	random *rand.Rand

	// Guards the server against use during its restart.
	mu     sync.RWMutex
	server *serverProcess

	workers []*exec.Cmd

	known        sync.Mutex
	segments     []*metastorev1.BlockMeta // acknowledged
	acknowledged map[string][]string      // data by tenant
	checks       atomic.Int64
}

// Workers and the server are killed at random while segments come in: each datum,
// a (segment, tenant), is found exactly once by every query that begins after its
// acknowledgement, and at the end each segment is replaced.
func TestFleetReplacesEverySegmentOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes again and again")
	}
	f := &fleet{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(*fleetSeed, 0)), acknowledged: map[string][]string{}}
	f.startServer()
	f.workers = make([]*exec.Cmd, fleetWorkers)
	for i := range f.workers {
		f.startWorker(i)
	}
	t.Cleanup(func() {
		for i := range f.workers {
			f.killWorker(i)
		}
	})

	// Queries never stop, whatever happens.
	checking, stop := context.WithCancel(t.Context())
	var checkers sync.WaitGroup
	for i := range 2 {
		checkers.Go(func() {
			for n := i; checking.Err() == nil; n++ {
				f.check(fleetTenant(n % fleetTenants))
			}
		})
	}
	for n := range *fleetSegments {
		f.add(n)
		f.disturb(n, *fleetSegments/20, *fleetSegments / *kills)
	}
	f.awaitCompaction()
	stop()
	checkers.Wait()
	f.wantGone()
	f.wantDistinctTokens()
	t.Logf("%d segments of %d tenants, %d complete answers", *fleetSegments, fleetTenants, f.checks.Load())
	f.server.stop()
}

// startServer (re)starts the server and tells the workers its address.
func (f *fleet) startServer() {
	f.t.Helper()
	f.server = startServe(f.t, filepath.Join(f.dir, "data"),
		"-metastore.compaction-job-lease-duration", "1s", "-metastore.compaction-max-failures", "0")
	next := filepath.Join(f.dir, "next")
	if err := os.WriteFile(next, []byte(f.server.conn.Target()), 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(f.dir, fleetAddress)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) startWorker(i int) {
	f.t.Helper()
	f.workers[i] = exec.Command("fleet-worker", f.dir)
	f.workers[i].Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10")
	if err := f.workers[i].Start(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) killWorker(i int) {
	if f.workers[i] != nil {
		f.workers[i].Process.Kill() //nolint:errcheck // it may be gone
		f.workers[i].Wait()         //nolint:errcheck // killed
	}
}

// disturb kills workers and the server now and then, and repeats old adds.
func (f *fleet) disturb(n, workerEach, serverEach int) {
	if i := f.random.IntN(fleetWorkers); f.random.IntN(max(1, workerEach)) == 0 {
		f.killWorker(i)
		f.startWorker(i)
	}
	if f.random.IntN(20) == 0 {
		// Its segment may be compacted by now: it must not come back.
		f.addAgain(f.segments[f.random.IntN(len(f.segments))])
	}
	if n%max(1, serverEach) == serverEach-1 {
		f.server.kill() // queries under way fail, and are not counted
		f.mu.Lock()
		f.startServer()
		f.mu.Unlock()
	}
}

func fleetTenant(n int) string { return fmt.Sprintf("tenant-%d", n) }

// fleetSegment makes a segment with data of all tenants.
func fleetSegment(n int) *metastorev1.BlockMeta {
	var id ulid.ULID
	now := time.Now()
	if err := id.SetTime(ulid.Timestamp(now)); err != nil {
		panic(err)
	}
	copy(id[6:], fmt.Sprintf("%010d", n))
	segment := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: uint32(1 + n%fleetShards), MinTime: now.UnixMilli(), MaxTime: now.UnixMilli() + 500,
		Size: 100, StringTable: []string{"", "writer", "service", datumLabel}, CreatedBy: 1,
	}
	for tenant := range fleetTenants {
		at := int32(len(segment.StringTable))
		segment.StringTable = append(segment.StringTable, fleetTenant(tenant), datum(n, tenant))
		segment.Datasets = append(segment.Datasets, &metastorev1.Dataset{
			Tenant: at, Name: 2, MinTime: segment.MinTime, MaxTime: segment.MaxTime, Size: 10, Labels: []int32{1, 3, at + 1},
		})
	}
	return segment
}

// add adds a segment, until it is acknowledged.
func (f *fleet) add(n int) {
	segment := fleetSegment(n)
	f.addAgain(segment)
	f.known.Lock()
	defer f.known.Unlock()
	f.segments = append(f.segments, segment)
	for tenant := range fleetTenants {
		f.acknowledged[fleetTenant(tenant)] = append(f.acknowledged[fleetTenant(tenant)], datum(n, tenant))
	}
}

func datum(segment, tenant int) string { return fmt.Sprintf("%d/%d", segment, tenant) }

func (f *fleet) addAgain(segment *metastorev1.BlockMeta) {
	f.t.Helper()
	deadline := time.Now().Add(fleetPatience)
	for {
		err := f.server.add(segment)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("cannot add %s: %v", segment.GetId(), err)
		}
	}
}

// check queries a tenant's data and returns how many blocks of each level there
// are. Nothing is returned if the server was killed meanwhile.
func (f *fleet) check(tenant string) map[uint32]int {
	f.known.Lock()
	want := f.acknowledged[tenant][:len(f.acknowledged[tenant]):len(f.acknowledged[tenant])]
	f.known.Unlock()
	f.mu.RLock()
	defer f.mu.RUnlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := f.server.QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{
		TenantId: []string{tenant}, StartTime: 0, EndTime: math.MaxInt64, Query: "{}", Labels: []string{datumLabel},
	})
	if err != nil {
		return nil
	}
	found, levels := map[string]int{}, map[uint32]int{}
	for _, block := range answer.GetBlocks() {
		levels[block.GetCompactionLevel()]++
		for _, dataset := range block.GetDatasets() {
			if labels := dataset.GetLabels(); len(labels) != 3 {
				f.t.Errorf("block %s: labels %v, want one pair", block.GetId(), labels)
			} else {
				found[block.GetStringTable()[labels[2]]]++
			}
		}
	}
	for datum, times := range found {
		if times > 1 {
			f.t.Errorf("%s: datum %s was found %d times", tenant, datum, times)
		}
	}
	for _, datum := range want {
		if found[datum] == 0 {
			f.t.Errorf("%s: datum %s was acknowledged and is not found", tenant, datum)
		}
	}
	f.checks.Add(1)
	return levels
}

// awaitCompaction goes on killing until no tenant is answered from segments.
func (f *fleet) awaitCompaction() {
	f.t.Helper()
	for tenant := range fleetTenants {
		left, since := math.MaxInt, time.Now()
		for n := 0; left > 0; n++ {
			if f.t.Failed() {
				f.t.FailNow()
			}
			if time.Since(since) > fleetPatience {
				waiting, err := adminv1.NewAdminServiceClient(f.server.conn).CompactionStatus(f.t.Context(), &adminv1.CompactionStatusRequest{})
				f.t.Fatalf("%s: %d segments are left and nothing happens: %v (%v)", fleetTenant(tenant), left, waiting, err)
			}
			levels := f.check(fleetTenant(tenant))
			if levels != nil && levels[0] < left {
				left, since = levels[0], time.Now()
			}
			if left > 0 {
				f.disturb(n, 500, 2000)
			}
		}
	}
}

// wantGone demands that no segment is in the index any more.
func (f *fleet) wantGone() {
	f.t.Helper()
	lists := map[uint32][]string{}
	for _, segment := range f.segments {
		lists[segment.GetShard()] = append(lists[segment.GetShard()], segment.GetId())
	}
	for shard, ids := range lists {
		answer, err := f.server.GetBlockMetadata(f.t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: &metastorev1.BlockList{Shard: shard, Blocks: ids}})
		if err != nil || len(answer.GetBlocks()) > 0 {
			f.t.Errorf("shard %d: %d segments are left, %v", shard, len(answer.GetBlocks()), err)
		}
	}
}

// wantDistinctTokens demands that no token was given twice, whoever got it.
func (f *fleet) wantDistinctTokens() {
	f.t.Helper()
	grants, err := os.ReadFile(filepath.Join(f.dir, fleetGrants))
	if err != nil {
		f.t.Fatal(err)
	}
	seen, jobs := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(grants)) {
		if seen[line] {
			f.t.Errorf("granted twice: %s", line)
		}
		seen[line] = true
		name, _, _ := strings.Cut(line, " ")
		jobs[name] = true
	}
	f.t.Logf("%d jobs, %d grants", len(jobs), len(seen))
}

// The worker's part of the protocol, against a server that forgets nothing.
func TestFleetWorker(t *testing.T) {
	addr, stop, err := startFakeRouter()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	f := &fleet{t: t, dir: t.TempDir(), acknowledged: map[string][]string{}, server: &serverProcess{t: t}}
	if err := f.server.dial(addr); err != nil {
		t.Fatal(err)
	}
	defer f.server.conn.Close()
	for n := range 60 {
		f.add(n)
	}
	if err := os.WriteFile(filepath.Join(f.dir, fleetAddress), []byte(addr), 0o644); err != nil {
		t.Fatal(err)
	}
	workers := []*fleetWorker{{dir: f.dir, jobs: map[string]*fleetJob{}}, {dir: f.dir, jobs: map[string]*fleetJob{}}}
	turns := 0
	for ; turns < 100; turns++ {
		if err := workers[turns%2].turn(); err != nil {
			t.Fatal(err)
		}
		if levels := f.check(fleetTenant(turns % fleetTenants)); levels == nil || levels[0] == 0 {
			break
		}
	}
	for tenant := range fleetTenants {
		if levels := f.check(fleetTenant(tenant)); levels[0] != 0 || levels[1] != 12 {
			t.Errorf("after %d turns tenant %d has blocks %v by level, want 12 of level 1", turns, tenant, levels)
		}
	}
	f.wantGone()
	f.wantDistinctTokens()
	for _, w := range workers {
		w.conn.Close()
	}
}

// The fleet's merge loses nothing, whoever runs it.
func TestFleetMerge(t *testing.T) {
	source := &metastorev1.BlockMeta{
		Id: "01JGJFGR480000000000000000", MinTime: 5, MaxTime: 9, StringTable: []string{"", "b", "a", "svc", "k", "v", "w"},
		Datasets: []*metastorev1.Dataset{
			{Tenant: 1, Name: 3, Size: 1, Labels: []int32{1, 4, 5, 0, 2, 4, 6, 3, 3}}, {Tenant: 2, Name: 3, Size: 2, Labels: []int32{1, 4, 6}},
			{Tenant: 1, Name: 3, Size: 4},
		},
	}
	job := &metastorev1.CompactionJob{Shard: 7}
	first, again := fleetMerge(job, []*metastorev1.BlockMeta{source}), fleetMerge(job, []*metastorev1.BlockMeta{source})
	if len(first) != 2 {
		t.Fatalf("got %d blocks", len(first))
	}
	for i, block := range first {
		if err := metastorev1.ValidateBlock(block); err != nil {
			t.Error(err)
		}
		if block.GetId() != again[i].GetId() || ulid.MustParse(block.GetId()).Time() != ulid.MustParse(source.GetId()).Time() {
			t.Errorf("ids are %s and %s", block.GetId(), again[i].GetId())
		}
		tenant := block.TenantName()
		want := describeDatasets(source, tenant)
		if got := describeDatasets(block, tenant); got != want || block.GetShard() != 7 || block.GetCompactionLevel() != 1 {
			t.Errorf("tenant %s: got %s, want %s", tenant, got, want)
		}
	}
}

func describeDatasets(block *metastorev1.BlockMeta, tenant string) string {
	text := describe(block, func(other string) bool { return other == tenant }, []string{"k", "svc"})
	_, datasets, _ := strings.Cut(text, "\n")
	return datasets
}
