package workload

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/history"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const (
	workerSlots = 3
	// Polls for which a worker works on a job, at most.
	roundsMax = 4
	// One turn of so many, a worker forgets all it has, as if it had been killed.
	forgetEach = 150
	// One turn of so many, a worker is silent for so long that leases may end.
	sleepEach = 100
)

// heldJob is a job that a worker believes to have.
type heldJob struct {
	job    *metastorev1.CompactionJob
	token  uint64
	rounds int // until it is done
	result *metastorev1.CompactedBlocks
}

// work does a little on each job and polls. After an error everything stays as it
// was and is reported again.
func (c *client) work(ctx context.Context) {
	switch {
	case c.random.IntN(forgetEach) == 0:
		clear(c.jobs)
	case c.random.IntN(sleepEach) == 0:
		c.pause(ctx, 100*c.options.Pace)
	}
	for _, name := range slices.Sorted(maps.Keys(c.jobs)) {
		if job := c.jobs[name]; job.result == nil {
			if job.rounds--; job.rounds <= 0 && c.compact(ctx, job) != nil {
				return
			}
		}
	}
	c.poll(ctx)
	c.pause(ctx, 3*c.options.Pace)
}

// compact asks for the sources and merges them. None found is a success without
// sources.
func (c *client) compact(ctx context.Context, held *heldJob) error {
	list := &metastorev1.BlockList{Tenant: held.job.GetTenant(), Shard: held.job.GetShard(), Blocks: held.job.GetSourceBlocks()}
	conn := c.conn()
	var answer *metastorev1.GetBlockMetadataResponse
	if err := c.call(ctx, "get", func(ctx context.Context) (err error) {
		answer, err = c.index(conn).GetBlockMetadata(ctx, &metastorev1.GetBlockMetadataRequest{Blocks: list})
		return err
	}); err != nil {
		return err
	}
	sources := &metastorev1.BlockList{Tenant: list.Tenant, Shard: list.Shard}
	for _, block := range answer.GetBlocks() {
		sources.Blocks = append(sources.Blocks, block.GetId())
	}
	held.result = &metastorev1.CompactedBlocks{SourceBlocks: sources}
	if len(sources.Blocks) > 0 {
		held.result.NewBlocks = Merge(held.job, held.token, answer.GetBlocks(), false)
	}
	c.results.made(held)
	return nil
}

func (c *client) poll(ctx context.Context) {
	request := &metastorev1.PollCompactionJobsRequest{JobCapacity: workerSlots}
	for _, name := range slices.Sorted(maps.Keys(c.jobs)) {
		held := c.jobs[name]
		update := &metastorev1.CompactionJobStatusUpdate{Name: name, Token: held.token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS}
		if held.result != nil {
			update.Status, update.CompactedBlocks = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS, held.result
		} else if request.JobCapacity > 0 {
			request.JobCapacity--
		}
		request.StatusUpdates = append(request.StatusUpdates, update)
	}
	conn, began := c.conn(), c.clock.Now()
	var answer *metastorev1.PollCompactionJobsResponse
	err := c.call(ctx, "poll", func(ctx context.Context) (err error) {
		answer, err = metastorev1.NewCompactionServiceClient(conn).PollCompactionJobs(ctx, request)
		return err
	})
	ended := history.Unknown
	if err == nil {
		ended = c.clock.Now()
	}
	for _, update := range request.GetStatusUpdates() {
		if update.GetCompactedBlocks() != nil {
			c.Jobs.Complete(history.Completion{Job: update.GetName(), Token: update.GetToken(), Call: began, Return: ended})
		}
	}
	if err == nil {
		c.take(answer, began, ended)
	}
}

// take forgets what was reported as done and what is not assigned any more.
func (c *client) take(answer *metastorev1.PollCompactionJobsResponse, began, ended int64) {
	tokens := map[string]uint64{}
	for _, assignment := range answer.GetAssignments() {
		tokens[assignment.GetName()] = assignment.GetToken()
	}
	for name, held := range c.jobs {
		token, assigned := tokens[name]
		if held.result != nil || !assigned {
			delete(c.jobs, name)
		} else if token != held.token {
			delete(c.jobs, name) // it comes again below
		}
	}
	for _, job := range answer.GetCompactionJobs() {
		token, assigned := tokens[job.GetName()]
		if !assigned {
			continue
		}
		c.Jobs.Grant(history.Grant{Job: job.GetName(), Token: token, Call: began, Return: ended})
		c.jobs[job.GetName()] = &heldJob{job: job, token: token, rounds: c.random.IntN(roundsMax)}
	}
}

// results knows which completion made a block.
type results struct {
	mu      sync.Mutex
	byBlock map[string]*result
}

type result struct {
	job   string
	token uint64
	seen  bool
}

// made announces a result, before it is reported.
func (r *results) made(held *heldJob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, block := range held.result.GetNewBlocks() {
		r.byBlock[block.GetId()] = &result{job: held.job.GetName(), token: held.token}
	}
}

// seen records the first time that a block was in an answer, if it is a result.
func (r *results) seen(jobs *history.Jobs, block string, began, ended int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result := r.byBlock[block]; result != nil && !result.seen {
		result.seen = true
		jobs.See(history.Sighting{Job: result.job, Token: result.token, Call: began, Return: ended})
	}
}
