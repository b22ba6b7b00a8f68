package scenario

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skerrydb/skerry/bench/pace"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Compacted is what workers did.
type Compacted struct {
	Jobs, Sources, Results uint64
	// Seconds from the start to the last job.
	Seconds float64
}

// CompactOptions say how workers work.
type CompactOptions struct {
	// Jobs of a worker at a time.
	Slots int
	// It ends when nobody had a job for so long.
	Quiet time.Duration
}

// workers compact metadata at once, and touch no objects: what remains is what jobs
// cost the metastore.
type workers struct {
	*Session
	slots   int
	quiet   time.Duration
	began   time.Time
	held    atomic.Int64
	lastJob atomic.Int64 // Unix nanoseconds

	mu   sync.Mutex
	done Compacted
}

type heldJob struct {
	job    *metastorev1.CompactionJob
	token  uint64
	result *metastorev1.CompactedBlocks
}

// Compact lets workers poll until there is nothing more to compact; the measurement
// is of polls. Blocks that a level collects for later stay.
func (s *Session) Compact(ctx context.Context, c CompactOptions, o pace.Options) (*pace.Measurement, Compacted, error) {
	w := &workers{Session: s, slots: max(1, c.Slots), quiet: c.Quiet, began: time.Now()}
	w.lastJob.Store(w.began.UnixNano())
	o.Stop = w.idle
	jobs := make([]map[string]*heldJob, o.Callers)
	m, err := pace.Run(ctx, o, func(ctx context.Context, caller int, _ uint64) (func() error, error) {
		if jobs[caller] == nil {
			jobs[caller] = map[string]*heldJob{}
		}
		return w.poll(ctx, caller, jobs[caller])
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done.Seconds = time.Unix(0, w.lastJob.Load()).Sub(w.began).Seconds()
	if err == nil {
		err = ctx.Err()
	}
	return m, w.done, err
}

func (w *workers) idle() bool {
	return w.held.Load() == 0 && time.Since(time.Unix(0, w.lastJob.Load())) > w.quiet
}

const idlePause = 50 * time.Millisecond

// poll reports results and takes jobs; results are made while no clock runs.
func (w *workers) poll(ctx context.Context, caller int, jobs map[string]*heldJob) (func() error, error) {
	request := &metastorev1.PollCompactionJobsRequest{JobCapacity: uint32(w.slots)}
	for name, job := range jobs {
		update := &metastorev1.CompactionJobStatusUpdate{Name: name, Token: job.token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS}
		if job.result != nil {
			update.Status, update.CompactedBlocks = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS, job.result
		} else {
			request.JobCapacity -= min(1, request.JobCapacity)
		}
		request.StatusUpdates = append(request.StatusUpdates, update)
	}
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	answer, err := metastorev1.NewCompactionServiceClient(w.conns[caller%len(w.conns)]).PollCompactionJobs(limited, request)
	if err != nil {
		return nil, err // everything is reported again
	}
	return func() error {
		w.settleJobs(request, answer, jobs)
		return w.compactAll(ctx, caller, jobs)
	}, nil
}

func (w *workers) settleJobs(request *metastorev1.PollCompactionJobsRequest, answer *metastorev1.PollCompactionJobsResponse, jobs map[string]*heldJob) {
	for _, update := range request.GetStatusUpdates() {
		if update.GetCompactedBlocks() != nil {
			w.reported(update.GetCompactedBlocks())
			w.drop(jobs, update.GetName())
		}
	}
	tokens := map[string]uint64{}
	for _, assignment := range answer.GetAssignments() {
		tokens[assignment.GetName()] = assignment.GetToken()
	}
	for name, job := range jobs {
		if tokens[name] != job.token {
			w.drop(jobs, name) // somebody else has it
		}
	}
	for _, job := range answer.GetCompactionJobs() {
		if token, assigned := tokens[job.GetName()]; assigned && jobs[job.GetName()] == nil {
			jobs[job.GetName()] = &heldJob{job: job, token: token}
			if compacts(job) {
				w.held.Add(1)
				w.lastJob.Store(time.Now().UnixNano())
			}
		}
	}
}

// compacts tells whether a job has blocks. Those that only delete objects come long after
// the ones that replaced these: nobody waits for their end.
func compacts(job *metastorev1.CompactionJob) bool { return len(job.GetSourceBlocks()) > 0 }

func (w *workers) drop(jobs map[string]*heldJob, name string) {
	if compacts(jobs[name].job) {
		w.held.Add(-1)
	}
	delete(jobs, name)
}

func (w *workers) reported(result *metastorev1.CompactedBlocks) {
	if len(result.GetSourceBlocks().GetBlocks()) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done.Jobs++
	w.done.Sources += uint64(len(result.GetSourceBlocks().GetBlocks()))
	w.done.Results += uint64(len(result.GetNewBlocks()))
	w.lastJob.Store(time.Now().UnixNano())
}

// compactAll makes results. The error is a wrong answer; a failure is tried again with the next poll.
func (w *workers) compactAll(ctx context.Context, caller int, jobs map[string]*heldJob) error {
	if len(jobs) == 0 {
		select {
		case <-time.After(idlePause):
		case <-ctx.Done():
		}
		return nil
	}
	for _, job := range jobs {
		if job.result != nil {
			continue
		}
		list := &metastorev1.BlockList{Tenant: job.job.GetTenant(), Shard: job.job.GetShard(), Blocks: job.job.GetSourceBlocks()}
		limited, cancel := context.WithTimeout(ctx, w.timeout)
		answer, err := w.index(caller).GetBlockMetadata(limited, &metastorev1.GetBlockMetadataRequest{Blocks: list})
		cancel()
		if err != nil {
			continue
		}
		found := &metastorev1.BlockList{Tenant: list.Tenant, Shard: list.Shard}
		for _, block := range answer.GetBlocks() {
			if !slices.Contains(list.Blocks, block.GetId()) {
				return fmt.Errorf("job %s: block %s was not asked for", job.job.GetName(), block.GetId())
			}
			found.Blocks = append(found.Blocks, block.GetId())
		}
		job.result = &metastorev1.CompactedBlocks{SourceBlocks: found}
		if len(found.Blocks) > 0 {
			job.result.NewBlocks = merge(job.job, job.token, answer.GetBlocks())
		}
	}
	return nil
}

// CheckBytes asks for all datasets of each tenant and compares their sizes, added up by
// service, with those of the blocks that were added. Compaction keeps these sums.
func (s *Session) CheckBytes(ctx context.Context) error {
	want := s.g.Bytes(s.Added())
	for _, tenant := range s.g.Tenants() {
		got, err := s.bytesOf(ctx, tenant)
		if err != nil {
			return err
		}
		for _, service := range append(s.g.Services(), "") {
			if got[service] != want[tenant][service] {
				return &WrongError{fmt.Sprintf("%s, service %q: datasets of %d bytes, want %d", tenant, service, got[service], want[tenant][service])}
			}
			delete(got, service)
		}
		for service := range got {
			return &WrongError{fmt.Sprintf("%s: a service %q that nobody added", tenant, service)}
		}
	}
	return nil
}

// WrongError is an answer that is not right.
type WrongError struct{ what string }

func (e *WrongError) Error() string { return "wrong answer: " + e.what }

func (s *Session) bytesOf(ctx context.Context, tenant string) (map[string]uint64, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := s.queries(0).QueryMetadata(limited, &metastorev1.QueryMetadataRequest{
		TenantId: []string{tenant}, StartTime: 0, EndTime: math.MaxInt64 / 2_000_000, Query: "{}",
	})
	if err != nil {
		return nil, fmt.Errorf("all of %s: %w", tenant, err)
	}
	sums := map[string]uint64{}
	for _, block := range answer.GetBlocks() {
		for _, d := range block.GetDatasets() {
			if of := block.StringAt(d.GetTenant()); of != tenant {
				return nil, &WrongError{fmt.Sprintf("a dataset of %s in an answer to %s", of, tenant)}
			}
			sums[block.StringAt(d.GetName())] += d.GetSize()
		}
	}
	return sums, nil
}
