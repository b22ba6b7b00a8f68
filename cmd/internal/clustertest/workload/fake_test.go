package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// bug is what a fake gets wrong now and then.
type bug string

const (
	none     bug = ""
	lose     bug = "lose" // acknowledges, forgets
	delay    bug = "delay"
	vanish   bug = "vanish"
	twice    bug = "twice"    // keeps what was compacted
	revive   bug = "revive"   // adds again what was compacted
	stale    bug = "stale"    // takes results of lost jobs
	sameJob  bug = "same job" // gives a job again that is done
	oldToken bug = "old token"
	stray    bug = "stray" // answers with another tenant's data
	refuse   bug = "refuse"
)

const fakeJobBlocks = 6

// fake is a metastore in memory, with one bug at most.
type fake struct {
	metastorev1.UnimplementedMetadataQueryServiceServer

	bug    bug
	mu     sync.Mutex
	blocks []*metastorev1.BlockMeta
	gone   map[string]bool // compacted
	acked  map[string]bool
	jobs   []*fakeJob
	token  uint64
	calls  int
}

type fakeJob struct {
	job   *metastorev1.CompactionJob
	token uint64
	idle  int // polls since somebody had it
	done  bool
}

func startFake(t *testing.T, b bug) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{bug: b, gone: map[string]bool{}, acked: map[string]bool{}}
	server := grpc.NewServer()
	metastorev1.RegisterIndexServiceServer(server, f)
	metastorev1.RegisterMetadataQueryServiceServer(server, f)
	metastorev1.RegisterCompactionServiceServer(server, f)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) }) //nolint:errcheck // stopped
	t.Cleanup(serving.Wait)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// now tells whether it is time for a bug.
func (f *fake) now(b bug) bool {
	f.calls++
	return f.bug == b && f.calls%7 == 0
}

func (f *fake) AddBlock(_ context.Context, request *metastorev1.AddBlockRequest) (*metastorev1.AddBlockResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	block := request.GetBlock()
	switch {
	case f.now(lose):
	case f.now(refuse):
		return nil, status.Error(codes.Internal, "bug")
	case f.calls%13 == 0:
		// Done or not, nobody knows.
		if f.calls%2 == 0 {
			f.add(block)
		}
		return nil, status.Error(codes.Unavailable, "try again")
	default:
		f.add(block)
	}
	return &metastorev1.AddBlockResponse{}, nil
}

func (f *fake) add(block *metastorev1.BlockMeta) {
	if id := block.GetId(); !f.acked[id] || f.gone[id] && f.bug == revive {
		f.acked[id] = true
		delete(f.gone, id)
		f.blocks = append(f.blocks, block)
	}
}

func (f *fake) GetBlockMetadata(_ context.Context, request *metastorev1.GetBlockMetadataRequest) (*metastorev1.GetBlockMetadataResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := &metastorev1.GetBlockMetadataResponse{}
	for _, block := range f.blocks {
		if slices.Contains(request.GetBlocks().GetBlocks(), block.GetId()) {
			answer.Blocks = append(answer.Blocks, block)
		}
	}
	return answer, nil
}

func (f *fake) QueryMetadata(_ context.Context, request *metastorev1.QueryMetadataRequest) (*metastorev1.QueryMetadataResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	blocks := f.blocks
	if f.now(delay) {
		blocks = blocks[:max(0, len(blocks)-20)]
	}
	if f.now(vanish) {
		blocks = slices.Clone(blocks)
		rand.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		blocks = blocks[:len(blocks)/2]
	}
	strays := f.now(stray)
	answer := &metastorev1.QueryMetadataResponse{}
	for _, block := range blocks {
		var kept []*metastorev1.Dataset
		for _, dataset := range block.GetDatasets() {
			if dataset.GetMinTime() <= request.GetEndTime() && dataset.GetMaxTime() >= request.GetStartTime() &&
				(strays || slices.Contains(request.GetTenantId(), block.StringAt(dataset.GetTenant()))) {
				kept = append(kept, dataset)
			}
		}
		if len(kept) > 0 {
			answer.Blocks = append(answer.Blocks, &metastorev1.BlockMeta{Id: block.GetId(), StringTable: block.GetStringTable(), Datasets: kept})
		}
	}
	return answer, nil
}

func (f *fake) PollCompactionJobs(_ context.Context, request *metastorev1.PollCompactionJobsRequest) (*metastorev1.PollCompactionJobsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := &metastorev1.PollCompactionJobsResponse{}
	for _, update := range request.GetStatusUpdates() {
		at := slices.IndexFunc(f.jobs, func(j *fakeJob) bool { return j.job.GetName() == update.GetName() })
		if at < 0 {
			continue
		}
		job := f.jobs[at]
		if job.done || job.token != update.GetToken() && f.bug != stale {
			continue
		}
		if update.GetCompactedBlocks() != nil {
			f.complete(job, update)
			continue
		}
		job.idle = 0
		answer.Assignments = append(answer.Assignments, &metastorev1.CompactionJobAssignment{Name: update.GetName(), Token: update.GetToken()})
	}
	f.plan()
	for _, job := range f.jobs {
		job.idle++
		free := job.token == 0 || job.idle > 4 || f.bug == stale && job.idle > 1
		if len(answer.GetCompactionJobs()) >= int(request.GetJobCapacity()) || !free || job.done && f.bug != sameJob {
			continue
		}
		f.token++
		if f.bug != oldToken || job.token == 0 {
			job.token = f.token
		}
		job.idle = 0
		answer.CompactionJobs = append(answer.CompactionJobs, job.job)
		answer.Assignments = append(answer.Assignments, &metastorev1.CompactionJobAssignment{Name: job.job.GetName(), Token: job.token})
	}
	if f.calls++; f.calls%11 == 0 {
		return nil, status.Error(codes.Unavailable, "the answer is lost")
	}
	return answer, nil
}

func (f *fake) complete(job *fakeJob, update *metastorev1.CompactionJobStatusUpdate) {
	job.done = true
	for _, id := range update.GetCompactedBlocks().GetSourceBlocks().GetBlocks() {
		f.gone[id] = true
	}
	f.blocks = append(f.blocks, update.GetCompactedBlocks().GetNewBlocks()...)
	if f.bug != twice {
		f.blocks = slices.DeleteFunc(f.blocks, func(b *metastorev1.BlockMeta) bool { return f.gone[b.GetId()] })
	}
}

// plan makes jobs of segments of a shard.
func (f *fake) plan() {
	byShard := map[uint32][]string{}
	taken := map[string]bool{}
	for _, job := range f.jobs {
		for _, id := range job.job.GetSourceBlocks() {
			taken[id] = true
		}
	}
	for _, block := range f.blocks {
		if block.GetCompactionLevel() > 0 || taken[block.GetId()] {
			continue
		}
		ids := append(byShard[block.GetShard()], block.GetId())
		if byShard[block.GetShard()] = ids; len(ids) == fakeJobBlocks {
			f.jobs = append(f.jobs, &fakeJob{job: &metastorev1.CompactionJob{Name: fmt.Sprintf("job %d", len(f.jobs)), Shard: block.GetShard(), SourceBlocks: ids}})
			byShard[block.GetShard()] = nil
		}
	}
}
