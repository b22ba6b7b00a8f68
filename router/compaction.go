package router

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// Slots that one poll fills at most, whatever the worker asks for: no worker
	// has as many threads.
	pollSlotsMax = 1024
	// keptLease is written into assignments that stand in for a group's answer.
	// Nobody knows the lease; workers do not look at it.
	keptLease = 15 * time.Second
)

type compactionService struct {
	metastorev1.UnimplementedCompactionServiceServer
	router *Router
}

// PollCompactionJobs hands reports to the groups of their jobs, then offers the
// worker's free slots to groups where work waits:
//
//	reports ─► each to its job's group ─► a result not taken? ─► UNAVAILABLE
//	                                             │ no
//	slots + those that reports freed ─► probe groups long unheard of
//	                                 ─► offer, most urgent backlog first ─┐
//	                                      ▲ while slots are left          │
//	                                      └───────────────────────────────┘
//
// A worker forgets the results of an answered poll, and drops the jobs that the
// answer does not assign to it.
func (s *compactionService) PollCompactionJobs(ctx context.Context, request *metastorev1.PollCompactionJobsRequest) (*metastorev1.PollCompactionJobsResponse, error) {
	r := s.router
	outcomes := r.fanout.metrics.polls
	if updates := len(request.GetStatusUpdates()); updates > r.options.MaxUpdates {
		outcomes.WithLabelValues("invalid").Inc()
		return nil, status.Errorf(codes.InvalidArgument, "%d status updates, at most %d are allowed in one poll", updates, r.options.MaxUpdates)
	}
	inner, cancel := context.WithTimeout(ctx, r.options.PollBudget)
	defer cancel()
	p := newPoll(r, request.GetStatusUpdates())
	// An answer that comes too late loses the jobs in it: the last part of the
	// time is kept for sending it.
	start := time.Now()
	deadline, _ := inner.Deadline()
	budget := deadline.Sub(start)

	reporting, stop := context.WithDeadline(inner, start.Add(budget*5/8))
	p.report(reporting)
	stop()
	if err := p.settled(ctx); err != nil {
		outcomes.WithLabelValues(p.failure(err)).Inc()
		return nil, err
	}
	offering, stop := context.WithDeadline(inner, start.Add(budget*15/16))
	p.offer(offering, int(min(request.GetJobCapacity(), pollSlotsMax))+p.freed)
	stop()
	if p.heard == 0 && p.unserved > 0 {
		outcomes.WithLabelValues("unserved").Inc()
		return nil, status.Error(codes.Unimplemented, "the nodes do not serve compaction: upgrade them; blocks are kept as they were added")
	}
	outcome := "ok"
	if p.kept > 0 {
		outcome = "degraded"
	}
	outcomes.WithLabelValues(outcome).Inc()
	return p.answer(), nil
}

// poll is one request under way.
type poll struct {
	router  *Router
	updates []*metastorev1.CompactionJobStatusUpdate
	// Updates by the point of their job, and the spans of those points.
	byPoint map[place][]int
	spans   []span

	mu       sync.Mutex
	answered []bool // by update
	lost     error  // why some is not answered
	freed    int
	kept     int // jobs that the router itself assigns again
	heard    int // calls that groups answered
	unserved int // calls that nodes do not know
	renewed  []*metastorev1.CompactionJobAssignment
	granted  []*metastorev1.CompactionJobAssignment
	jobs     []*metastorev1.CompactionJob
}

// place is a point of the hash space.
type place struct {
	keyspace clusterv1.Keyspace
	point    uint64
}

// newPoll finds the points that the updates are for.
func newPoll(r *Router, updates []*metastorev1.CompactionJobStatusUpdate) *poll {
	p := &poll{router: r, updates: updates, byPoint: map[place][]int{}, answered: make([]bool, len(updates))}
	strange := map[string]bool{}
	for i, update := range updates {
		tenant, shard, _, err := metastorev1.ParseJobName(update.GetName())
		switch {
		case err != nil || !utf8.ValidString(update.GetName()):
			// No job has this name. The slot of a result is free in the worker's own
			// count already.
			p.answered[i] = true
			if !strange[update.GetName()] && update.GetStatus() != metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS {
				p.freed++
			}
			strange[update.GetName()] = true
			r.fanout.metrics.updates.WithLabelValues("unknown").Inc()
		case !readable(update.GetCompactedBlocks()):
			// Sent on, it would fail the call of all others, poll after poll. The job
			// goes to another worker when its lease ends.
			p.answered[i] = true
			r.fanout.metrics.updates.WithLabelValues("bad").Inc()
			r.fanout.log.Warn("a compaction result is not UTF-8 and is ignored; the job will be assigned again: look at the worker that reported it",
				zap.String("job", update.GetName()))
		default:
			at := pointSpan(tenant, shard)
			key := place{at.keyspace, at.lo}
			if p.byPoint[key] == nil {
				p.spans = append(p.spans, at)
			}
			p.byPoint[key] = append(p.byPoint[key], i)
		}
	}
	return p
}

// readable tells whether a node can decode a result.
func readable(result *metastorev1.CompactedBlocks) bool {
	bad := func(text string) bool { return !utf8.ValidString(text) }
	sources := result.GetSourceBlocks()
	if bad(sources.GetTenant()) || slices.ContainsFunc(sources.GetBlocks(), bad) {
		return false
	}
	return !slices.ContainsFunc(result.GetNewBlocks(), func(block *metastorev1.BlockMeta) bool {
		return bad(block.GetId()) || slices.ContainsFunc(block.GetStringTable(), bad)
	})
}

// report sends every update to the group of its job. Groups stand for
// themselves: those that can be reached renew their leases.
func (p *poll) report(ctx context.Context) {
	p.router.fanout.settle(ctx, reportCall, p.spans, p.reportPart, func(_ []span, err error) {
		p.router.fanout.metrics.unreachable.WithLabelValues("report").Inc()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.miss(err)
		if p.lost == nil {
			p.lost = err
		}
	})
}

func (p *poll) reportPart(ctx context.Context, node nodev1.NodeServiceClient, part part) (take, error) {
	var mine []int
	for _, ref := range part.refs {
		mine = append(mine, p.byPoint[place{ref.GetKeyspace(), ref.GetLo()}]...)
	}
	slices.Sort(mine)
	updates := make([]*metastorev1.CompactionJobStatusUpdate, len(mine))
	for i, at := range mine {
		updates[i] = p.updates[at]
	}
	answer, err := node.PollCompaction(ctx, &nodev1.PollCompactionRequest{
		GroupId: part.group, ReportsOnly: true, Poll: &metastorev1.PollCompactionJobsRequest{StatusUpdates: updates},
	})
	if err != nil {
		return nil, err
	}
	p.router.backlogs.learn(part.group, answer.GetBacklog())
	p.router.fanout.metrics.updates.WithLabelValues("routed").Add(float64(len(mine)))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard++
	p.freed += min(int(answer.GetFreed()), len(mine))
	p.renewed = append(p.renewed, answer.GetPoll().GetAssignments()...)
	for _, at := range mine {
		p.answered[at] = true
	}
	return nil, nil
}

// settled fails the poll if a result was not taken, and keeps the jobs in
// progress whose groups did not answer: should one be given to somebody else
// meanwhile, its token protects it.
func (p *poll) settled(caller context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	unanswered, example := 0, ""
	names := map[string]bool{}
	for i, update := range p.updates {
		switch {
		case p.answered[i]:
		case update.GetStatus() == metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS:
			unanswered++
			example = cmp.Or(example, update.GetName())
		case update.GetStatus() == metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS && !names[update.GetName()]:
			names[update.GetName()] = true
			p.kept++
			p.renewed = append(p.renewed, &metastorev1.CompactionJobAssignment{
				Name: update.GetName(), Token: update.GetToken(), LeaseExpiresAt: time.Now().Add(keptLease).UnixNano(),
			})
		}
	}
	if caller.Err() != nil {
		return status.FromContextError(caller.Err()).Err()
	}
	if unanswered == 0 {
		return nil
	}
	if p.heard == 0 && asStatus(p.lost).Code() == codes.Unimplemented {
		return status.Error(codes.Unimplemented, "the nodes do not serve compaction: upgrade them, then report the results again")
	}
	return status.Errorf(codes.Unavailable, "%d results were not taken, such as that of job %.128s: report them again (%s)",
		unanswered, example, asStatus(p.lost).Message())
}

// failure names a failed poll in metrics.
func (*poll) failure(err error) string {
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded:
		return "ended"
	case codes.Unimplemented:
		return "unserved"
	}
	return "unanswered"
}

// miss counts an error of a call. The lock is held.
func (p *poll) miss(err error) {
	if asStatus(err).Code() == codes.Unimplemented {
		p.unserved++
	}
}

// answer lists the leases that the worker keeps, then the new ones; urgent jobs
// first, since a worker that has too many drops the last.
func (p *poll) answer() *metastorev1.PollCompactionJobsResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortStableFunc(p.jobs, func(a, b *metastorev1.CompactionJob) int {
		return cmp.Compare(a.GetCompactionLevel(), b.GetCompactionLevel())
	})
	return &metastorev1.PollCompactionJobsResponse{CompactionJobs: p.jobs, Assignments: slices.Concat(p.renewed, p.granted)}
}

// take keeps what a group gave for an offer. More than was offered, or what is
// not both a job and its assignment, is of no use to a worker.
func (p *poll) take(group uint64, slots int, answer *metastorev1.PollCompactionJobsResponse) (taken int) {
	assignments := map[string]*metastorev1.CompactionJobAssignment{}
	for _, assignment := range answer.GetAssignments() {
		assignments[assignment.GetName()] = assignment
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard++
	for _, job := range answer.GetCompactionJobs() {
		assignment := assignments[job.GetName()]
		if assignment == nil || taken == slots {
			p.router.fanout.log.Error("a group gave jobs without assignments, or more than it was offered", zap.Uint64("group", group), zap.Int("slots", slots))
			break
		}
		taken++
		p.jobs = append(p.jobs, job)
		p.granted = append(p.granted, assignment)
		p.router.fanout.metrics.jobs.WithLabelValues(levelLabel(job.GetCompactionLevel())).Inc()
	}
	return taken
}

// levelLabel bounds what a metric can grow to.
func levelLabel(level uint32) string {
	if level > 9 {
		return "more"
	}
	return fmt.Sprint(level)
}
