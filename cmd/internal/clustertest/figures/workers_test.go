package figures

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/workload"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// workers compact metadata at once, and touch no objects: what remains is what jobs
// cost the cluster.
type workers struct {
	conns []*grpc.ClientConn
	slots int
	// Between two polls of a worker.
	pace time.Duration

	// What was reported: segments that were compacted, jobs of them and of blocks.
	segments, jobs, higher atomic.Int64
	failures               failures
	// Jobs that some worker has, and when one got any last, Unix nanoseconds.
	held, lastJob atomic.Int64
}

// workerJob is a job that a worker has.
type workerJob struct {
	*metastorev1.CompactionJob
	token  uint64
	result *metastorev1.CompactedBlocks
}

// start lets workers work until the function that it returns is called: then they
// end what they have.
func (w *workers) start(ctx context.Context, count int) (stop func()) {
	var (
		ending  atomic.Bool
		running sync.WaitGroup
	)
	w.lastJob.Store(time.Now().UnixNano())
	for i := range count {
		conn := w.conns[i%len(w.conns)]
		running.Go(func() {
			jobs := map[string]*workerJob{}
			for ctx.Err() == nil && !(ending.Load() && len(jobs) == 0) {
				w.turn(ctx, conn, jobs, !ending.Load())
				select {
				case <-time.After(w.pace):
				case <-ctx.Done():
				}
			}
		})
	}
	return func() {
		ending.Store(true)
		running.Wait()
	}
}

// turn makes the results of all jobs, and reports them.
func (w *workers) turn(ctx context.Context, conn *grpc.ClientConn, jobs map[string]*workerJob, more bool) {
	limited, cancel := context.WithTimeout(ctx, addPatience)
	defer cancel()
	request := &metastorev1.PollCompactionJobsRequest{}
	if more {
		request.JobCapacity = uint32(w.slots)
	}
	for name, job := range jobs {
		update := &metastorev1.CompactionJobStatusUpdate{Name: name, Token: job.token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS}
		if job.result != nil || w.compact(limited, conn, job) {
			update.Status, update.CompactedBlocks = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS, job.result
		} else if request.JobCapacity > 0 {
			request.JobCapacity--
		}
		request.StatusUpdates = append(request.StatusUpdates, update)
	}
	answer, err := metastorev1.NewCompactionServiceClient(conn).PollCompactionJobs(limited, request)
	if err != nil {
		w.failed(ctx, err)
		return
	}
	for _, update := range request.GetStatusUpdates() {
		if update.GetCompactedBlocks() != nil {
			w.reported(jobs[update.GetName()])
			delete(jobs, update.GetName())
			w.held.Add(-1)
		}
	}
	tokens := map[string]uint64{}
	for _, assignment := range answer.GetAssignments() {
		tokens[assignment.GetName()] = assignment.GetToken()
	}
	for name, job := range jobs {
		if tokens[name] != job.token {
			delete(jobs, name) // somebody else has it
			w.held.Add(-1)
		}
	}
	for _, job := range answer.GetCompactionJobs() {
		if token, assigned := tokens[job.GetName()]; assigned {
			jobs[job.GetName()] = &workerJob{CompactionJob: job, token: token}
			w.held.Add(1)
			w.lastJob.Store(time.Now().UnixNano())
		}
	}
}

// compact tells whether there is a result now.
func (w *workers) compact(ctx context.Context, conn *grpc.ClientConn, job *workerJob) bool {
	list := &metastorev1.BlockList{Tenant: job.GetTenant(), Shard: job.GetShard(), Blocks: job.GetSourceBlocks()}
	answer, err := metastorev1.NewIndexServiceClient(conn).GetBlockMetadata(ctx, &metastorev1.GetBlockMetadataRequest{Blocks: list})
	if err != nil {
		w.failed(ctx, err)
		return false
	}
	found := &metastorev1.BlockList{Tenant: list.Tenant, Shard: list.Shard}
	for _, block := range answer.GetBlocks() {
		found.Blocks = append(found.Blocks, block.GetId())
	}
	job.result = &metastorev1.CompactedBlocks{SourceBlocks: found}
	if len(found.Blocks) > 0 {
		job.result.NewBlocks = workload.Merge(job.CompactionJob, job.token, answer.GetBlocks(), true)
	}
	return true
}

func (w *workers) reported(job *workerJob) {
	if job.GetCompactionLevel() > 0 {
		w.higher.Add(1)
		return
	}
	w.jobs.Add(1)
	w.segments.Add(int64(len(job.result.GetSourceBlocks().GetBlocks())))
}

func (w *workers) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		w.failures.count(status.Code(err))
	}
}

// awaitIdle waits until workers get nothing more and nothing waits to be handed
// over, and returns how long that took.
func (w *workers) awaitIdle(t *testing.T, c *cluster) time.Duration {
	t.Helper()
	const quiet = 2 * time.Second
	began := time.Now()
	for {
		calm := time.Since(time.Unix(0, w.lastJob.Load()))
		if w.held.Load() == 0 && calm > quiet && c.scrape(t).sum("skerry_transfers_waiting") == 0 {
			return max(0, time.Since(began)-quiet)
		}
		if time.Since(began) > startPatience {
			t.Fatalf("after %v workers have %d jobs, and %v transfers wait; failures: %s", startPatience, w.held.Load(), c.scrape(t).sum("skerry_transfers_waiting"), w.failures.take())
		}
		time.Sleep(100 * time.Millisecond)
	}
}
