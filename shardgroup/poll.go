package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// Bounds of polls.
const (
	// Polls of one group that wait for their turn; more are refused. Some
	// milliseconds each, they are done before workers give up waiting.
	maxWaitingPolls = 512
	// Reports in a poll, and bytes of it. Workers report what they hold, some tens
	// of jobs, with a few kilobytes of metadata for each result.
	maxPollUpdates = 16 << 10
	maxPollBytes   = 64 << 20
	// Decisions of one poll that may be refused before it fails.
	maxDecisions = 4
	// Jobs are not handed out with less time left than this.
	assignWithin = 300 * time.Millisecond
)

// polls decides what workers ask of a group: one after the other, since each
// decision stands on the state that the one before made.
//
//	turn ─► read the state, decide ─► nothing changes ─► confirm leadership ─► answer
//	             ▲                └► propose: one entry ─► applied ───────────► answer
//	             └────────────────────── refused ◄┘
type polls struct {
	group   *Group
	config  schedule.Config
	now     func() time.Time
	metrics *compactionMetrics
	log     *zap.Logger

	turn    chan struct{} // full while a poll is decided
	waiting atomic.Int64

	// Called between a decision and its proposal, by tests.
	decided func()
}

func newPolls(g *Group, config schedule.Config, now func() time.Time, metrics *compactionMetrics, log *zap.Logger) *polls {
	return &polls{group: g, config: config, now: now, metrics: metrics, log: log, turn: make(chan struct{}, 1), decided: func() {}}
}

// errNotLeading makes routers look for the leader.
var errNotLeading = fmt.Errorf("%w: this replica does not lead it, or has just begun to: ask the leader", ErrNotReady)

// errStale means that a decision was refused, since the state had changed.
var errStale = errors.New("the decision came too late")

func (p *polls) poll(ctx context.Context, request *nodev1.PollCompactionRequest) (*nodev1.PollCompactionResponse, error) {
	if updates := len(request.GetPoll().GetStatusUpdates()); updates > maxPollUpdates {
		return nil, fmt.Errorf("%w: %d reports in a poll, at most %d are allowed: report fewer jobs at a time", ErrBadRequest, updates, maxPollUpdates)
	}
	if size := request.SizeVT(); size > maxPollBytes {
		return nil, fmt.Errorf("%w: the poll has %d bytes, at most %d are allowed: report fewer results at a time", ErrBadRequest, size, maxPollBytes)
	}
	if p.group.leader.epoch.Load() == 0 {
		return nil, errNotLeading // before it waits for its turn
	}
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	asked := schedule.FromPoll(request.GetPoll())
	asked.ReportsOnly = request.GetReportsOnly()
	var err error
	for range maxDecisions {
		var response *nodev1.PollCompactionResponse
		if response, err = p.once(ctx, asked); !errors.Is(err, errStale) {
			return response, err
		}
		p.metrics.decisions.WithLabelValues("refused").Inc()
		p.log.Debug("a decision was refused, deciding anew", zap.Error(err))
	}
	p.log.Warn("a poll was decided again and again, and always refused", zap.Int("times", maxDecisions), zap.Error(err))
	return nil, fmt.Errorf("%w: decided %d times, always too late: %w", ErrNotReady, maxDecisions, err)
}

// enter waits for the poll's turn; it must be followed by leave if it returns
// nil.
func (p *polls) enter(ctx context.Context) error {
	if p.waiting.Add(1) > maxWaitingPolls {
		p.waiting.Add(-1)
		return fmt.Errorf("%w: %d polls wait: run fewer workers, or let them poll less often", ErrOverloaded, maxWaitingPolls)
	}
	defer p.waiting.Add(-1)
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *polls) leave() { <-p.turn }

// decision is what one poll does, under the epoch that it was decided in.
type decision struct {
	schedule.Decision
	epoch    uint64
	response *nodev1.PollCompactionResponse
}

// once decides a poll and carries it out. errStale asks for another attempt.
func (p *polls) once(ctx context.Context, asked schedule.Request) (*nodev1.PollCompactionResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := p.decide(asked)
	if err != nil {
		return nil, err
	}
	p.decided()
	// Jobs whose assignment nobody hears of wait for the end of a lease, and count it
	// as a failure.
	if deadline, limited := ctx.Deadline(); limited && len(d.Assign) > 0 && time.Until(deadline) < assignWithin {
		return nil, fmt.Errorf("%w: too little time is left to hand out jobs", context.DeadlineExceeded)
	}
	if d.Empty() {
		// A deposed leader knows nothing of jobs that were handed out since, and would
		// tell their owners that they may forget them.
		if len(asked.Updates) > 0 {
			if err := p.confirm(ctx, d.epoch); err != nil {
				return nil, err
			}
		}
		p.metrics.decisions.WithLabelValues("empty").Inc()
		p.metrics.reported(d.Decision)
		return d.response, nil
	}
	err = p.propose(ctx, d)
	if len(d.Complete) > 0 { // even if it is not known whether it was applied
		p.group.outbox.completed()
	}
	if err != nil {
		return nil, err
	}
	p.metrics.decisions.WithLabelValues("applied").Inc()
	p.metrics.reported(d.Decision)
	p.metrics.carriedOut(d.Decision)
	// What waits now is a hint: an answer without it is as good.
	if err := p.group.inspect(func(v statemachine.View) (err error) {
		d.response.Backlog, err = backlog(v, groupTime(v, p.now), p.config.Compaction)
		return err
	}); err != nil {
		p.log.Debug("counting what waits failed", zap.Error(err))
	}
	return d.response, nil
}

// decide reads the replica's state and decides on it.
func (p *polls) decide(asked schedule.Request) (decision, error) {
	// The epoch is known only once its claim was applied here, with all that earlier
	// leaders decided.
	d := decision{epoch: p.group.leader.epoch.Load(), response: &nodev1.PollCompactionResponse{}}
	if d.epoch == 0 {
		return d, errNotLeading
	}
	started := time.Now()
	err := p.group.inspect(func(v statemachine.View) error {
		if v.LeaderEpoch != d.epoch {
			return errNotLeading
		}
		if err := ownsJobs(v, asked.Updates); err != nil {
			return err
		}
		view, config := planView{v}, p.config
		config.Paused = config.Paused || v.Paused
		var err error
		if d.Decision, err = schedule.Poll(view, config, groupTime(v, p.now), asked); err != nil {
			return err
		}
		if d.response.Poll, err = d.Answer(view.workerJob); err != nil {
			return err
		}
		d.response.Backlog, err = backlog(v, groupTime(v, p.now), p.config.Compaction)
		return err
	})
	if err != nil {
		return d, err
	}
	p.metrics.planning.Observe(time.Since(started).Seconds())
	d.response.Freed = uint32(d.Slots - int(min(asked.Capacity, math.MaxInt32/2)))
	return d, nil
}

// ownsJobs refuses a poll with reports about jobs of ranges that the group does
// not own: to call them unknown would make the worker forget its results. What
// is no job's name belongs nowhere.
func ownsJobs(v statemachine.View, updates []schedule.Update) error {
	for _, update := range updates {
		tenant, shard, _, err := metastorev1.ParseJobName(update.Name)
		if err != nil {
			continue
		}
		if refusal := v.Owns(clusterv1.BlockPoint(tenant, shard)); refusal != nil {
			return &statemachine.RouteRefusal{Detail: refusal}
		}
	}
	return nil
}

// groupTime is log time as the next entry would make it.
func groupTime(v statemachine.View, now func() time.Time) planner.Time {
	return planner.Time(max(v.LogTime, now().UnixNano()))
}

// confirm demands that no other leader decided anything before the call.
func (p *polls) confirm(ctx context.Context, epoch uint64) error {
	_, err := p.group.Read(ctx, statemachine.Inspect{Fn: func(v statemachine.View) error {
		if v.LeaderEpoch != epoch {
			return fmt.Errorf("%w: another leader has claimed the group", errStale)
		}
		return nil
	}})
	return err
}

func (p *polls) propose(ctx context.Context, d decision) error {
	payload, err := compactionDecision(d.epoch, d.Decision).MarshalVT()
	if err != nil {
		return err
	}
	result, err := p.group.Propose(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_DECIDE_COMPACTION, RequestId: newRequestID(), Payload: payload,
	})
	if err != nil {
		p.metrics.decisions.WithLabelValues("failed").Inc()
		return err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK:
		return nil
	case raftlogv1.Result_STATUS_CONFLICT, raftlogv1.Result_STATUS_STALE_LEADER:
		return fmt.Errorf("%w: %s", errStale, result.GetMessage())
	default:
		// The planner and the state machine disagree about what is valid.
		p.metrics.decisions.WithLabelValues("invalid").Inc()
		p.log.Error("a decision about compaction is not valid, report this", zap.Stringer("status", result.GetStatus()), zap.String("message", result.GetMessage()))
		return fmt.Errorf("%w: %s: %s", ErrRefused, result.GetStatus(), result.GetMessage())
	}
}

// inspect reads what the replica has applied.
func (g *Group) inspect(fn func(statemachine.View) error) error {
	_, err := g.ReadStale(statemachine.Inspect{Fn: fn})
	return err
}
