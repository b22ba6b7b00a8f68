package shardgroup

import (
	"context"
	"errors"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/planner/schedule"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// Bounds of the lists that operators ask for.
const (
	defaultListed = 100
	maxListed     = 10_000
)

func listLimit(asked uint32) int {
	if asked == 0 {
		return defaultListed
	}
	return int(min(asked, maxListed))
}

// dataGroup returns a group that holds data. The directory's state machine knows
// no command about blocks.
func (s service) dataGroup(id uint64) (*Group, error) {
	if id == clusterv1.DirectoryGroup {
		return nil, fmt.Errorf("%w: group %d is the directory, it holds no data", ErrBadRequest, id)
	}
	return s.group(id)
}

// PollCompaction answers on the group's leader only.
func (s service) PollCompaction(ctx context.Context, request *nodev1.PollCompactionRequest) (*nodev1.PollCompactionResponse, error) {
	g, err := s.dataGroup(request.GetGroupId())
	var response *nodev1.PollCompactionResponse
	if err == nil {
		response, err = g.polls.poll(ctx, request)
	}
	if errors.Is(err, errNotLeading) {
		err = &hintedError{err, s.node.leaderNode(request.GetGroupId())}
	}
	err = toStatus(err, request.GetGroupId())
	s.node.metrics.compaction.polls.WithLabelValues(status.Code(err).String()).Inc()
	if err != nil {
		return nil, err
	}
	return response, nil
}

// inspect shows a data group's state, as of now, within the limits of reads. The
// function may run more than once.
func (s service) inspect(ctx context.Context, groupID uint64, fn func(statemachine.View) error) error {
	_, err := s.dataGroup(groupID)
	if err == nil {
		_, err = s.read(ctx, reading{group: groupID, maxBytes: maxAnswerBytes}, func(ctx context.Context, _ uint64) statemachine.Query {
			return statemachine.Inspect{Fn: func(v statemachine.View) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				return fn(v)
			}}
		})
	}
	return toStatus(err, groupID)
}

// CompactionStatus tells what the group's leader would decide, and why.
func (s service) CompactionStatus(ctx context.Context, request *nodev1.CompactionStatusRequest) (*nodev1.CompactionStatusResponse, error) {
	var response *nodev1.CompactionStatusResponse
	err := s.inspect(ctx, request.GetGroupId(), func(v statemachine.View) (err error) {
		config := s.node.options.Compaction
		config.Paused = config.Paused || v.Paused
		d := describer{
			view: planView{v}, config: config, now: groupTime(v, s.node.options.Now), limit: listLimit(request.GetLimit()),
			out: &nodev1.CompactionStatusResponse{Paused: config.Paused},
		}
		response = d.out
		return d.describe()
	})
	return response, err
}

// describer fills the status of a group's compaction.
type describer struct {
	view   planView
	config schedule.Config
	now    planner.Time
	limit  int
	out    *nodev1.CompactionStatusResponse
}

func (d *describer) describe() error {
	var err error
	if d.out.Levels, err = backlog(d.view.View, d.now, d.config.Compaction); err != nil {
		return err
	}
	d.out.Now = int64(d.now)
	d.out.Tombstones, d.out.TombstonesWaiting = d.view.View.Tombstones.Totals()
	for level := range uint32(queue.Levels) {
		if err := d.keys(level); err != nil {
			return err
		}
		if err := d.batches(level); err != nil {
			return err
		}
		for _, inProgress := range []schedule.Status{schedule.Unassigned, schedule.InProgress} {
			if err := d.jobs(level, inProgress); err != nil {
				return err
			}
		}
	}
	return nil
}

// room tells whether a list takes another row, and notes it if not.
func (d *describer) room(rows int) bool {
	if rows < d.limit {
		return true
	}
	d.out.Truncated = true
	return false
}

func (d *describer) keys(level uint32) error {
	for key, err := range d.view.OldestKeys(level) {
		if err != nil || !d.room(len(d.out.GetKeys())) {
			return err
		}
		full, err := d.view.OutboxFull(key.Shard)
		if err != nil {
			return err
		}
		d.out.Keys = append(d.out.Keys, &nodev1.QueueKey{
			Tenant: key.Tenant, Shard: key.Shard, Level: key.Level, Blocks: uint64(key.Blocks), Oldest: int64(key.Oldest),
			Reason: d.unlessPaused(compaction.WhyKey(key, d.config.Compaction, d.now, full)),
		})
	}
	return nil
}

// batches lists what failed jobs gave back, like keys; since when their blocks
// wait is not known.
func (d *describer) batches(level uint32) error {
	for batch, err := range d.view.Returned(level) {
		if err != nil || !d.room(len(d.out.GetKeys())) {
			return err
		}
		full, err := d.view.OutboxFull(batch.Shard)
		if err != nil {
			return err
		}
		d.out.Keys = append(d.out.Keys, &nodev1.QueueKey{
			Tenant: batch.Tenant, Shard: batch.Shard, Level: batch.Level, Blocks: uint64(len(batch.Blocks)),
			Reason: d.unlessPaused(compaction.WhyBatch(batch, d.now, full)),
		})
	}
	return nil
}

func (d *describer) unlessPaused(reason planner.Reason) string {
	if d.config.Paused {
		reason = planner.Reason{Code: planner.Paused}
	}
	return reason.String()
}

func (d *describer) jobs(level uint32, status schedule.Status) error {
	for state, err := range d.view.View.Jobs.List(level, status == schedule.InProgress, 0) {
		if err != nil || !d.room(len(d.out.GetJobs())) {
			return err
		}
		job := state.GetJob()
		d.out.Jobs = append(d.out.Jobs, &nodev1.JobInfo{
			Name: job.GetName(), Tenant: job.GetTenant(), Shard: job.GetShard(), Level: job.GetLevel(),
			Sources: uint32(len(job.GetSources())), Tombstones: uint32(len(job.GetTombstones())),
			InProgress: state.GetInProgress(), Token: state.GetToken(), LeaseExpiresAt: state.GetLeaseExpiresAt(),
			Failures: state.GetFailures(), CreatedAt: state.GetCreatedAt(),
			Reason: schedule.WhyJob(planJob(state), d.config, d.now).String(),
		})
	}
	return nil
}

// ListTombstones lists those that wait first, the longest waiting before others,
// then those on jobs, by name.
func (s service) ListTombstones(ctx context.Context, request *nodev1.ListTombstonesRequest) (*nodev1.ListTombstonesResponse, error) {
	var response *nodev1.ListTombstonesResponse
	err := s.inspect(ctx, request.GetGroupId(), func(v statemachine.View) error {
		response = &nodev1.ListTombstonesResponse{}
		limit := listLimit(request.GetLimit())
		add := func(t *raftlogv1.Tombstone) bool {
			if len(response.GetTombstones()) == limit {
				response.Truncated = true
				return false
			}
			response.Tombstones = append(response.Tombstones, &nodev1.TombstoneInfo{Tombstone: workerTombstone(t), Since: t.GetSince(), Job: t.GetJob()})
			return true
		}
		for t, err := range v.Tombstones.Waiting() {
			if err != nil {
				return err
			}
			if !add(t) {
				return nil
			}
		}
		return carried(v, add)
	})
	return response, err
}

// carried goes through the tombstones that are on jobs, job by job: there are
// few jobs, and may be many tombstones.
func carried(v statemachine.View, add func(*raftlogv1.Tombstone) bool) error {
	view := planView{v}
	for level := range uint32(queue.Levels) {
		for _, status := range []schedule.Status{schedule.Unassigned, schedule.InProgress} {
			for job, err := range view.Jobs(level, status, 0) {
				if err != nil {
					return err
				}
				plan, err := view.JobPlan(job.Name)
				if err != nil {
					return err
				}
				for _, name := range plan.Tombstones {
					held, err := v.Tombstones.Get(name)
					if err != nil {
						return err
					}
					if held.GetJob() == job.Name && !add(held) {
						return nil
					}
				}
			}
		}
	}
	return nil
}

// PlanRetention is a sweep from the beginning that removes nothing.
func (s service) PlanRetention(ctx context.Context, request *nodev1.PlanRetentionRequest) (*nodev1.PlanRetentionResponse, error) {
	var response *nodev1.PlanRetentionResponse
	err := s.inspect(ctx, request.GetGroupId(), func(v statemachine.View) error {
		config := s.node.options.Retention
		config.Explain = true
		plan, err := planRetention(v, config, s.node.periods, s.node.options.Now, retention.Place{})
		if err != nil {
			return err
		}
		response = &nodev1.PlanRetentionResponse{Now: int64(plan.Now), Stopped: plan.Stopped.String()}
		if plan.Stopped.Code == planner.Unknown {
			response.Stopped = "all index shards were looked at"
		}
		limit := listLimit(request.GetLimit())
		for _, r := range plan.Remove[:min(limit, len(plan.Remove))] {
			response.Remove = append(response.Remove, verdict(r.Row, r.Reason))
		}
		for _, k := range plan.Keep[:min(limit, len(plan.Keep))] {
			response.Keep = append(response.Keep, verdict(k.Row, k.Reason))
		}
		response.Truncated = len(plan.Remove) > limit || len(plan.Keep) > limit
		return nil
	})
	return response, err
}

func verdict(row retention.Row, reason planner.Reason) *nodev1.RetentionVerdict {
	return &nodev1.RetentionVerdict{
		Partition: partitionSeconds(row.Partition), Tenant: row.Tenant, Shard: row.Shard,
		Blocks: row.Blocks, ObjectBytes: row.Bytes, Reason: reason.String(),
	}
}

// ControlCompaction works on any replica: what an operator says stands above what
// a leader decides.
func (s service) ControlCompaction(ctx context.Context, request *nodev1.ControlCompactionRequest) (*nodev1.ControlCompactionResponse, error) {
	changed, err := s.controlCompaction(ctx, request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	return &nodev1.ControlCompactionResponse{Changed: changed}, nil
}

var controlActions = map[nodev1.ControlCompactionRequest_Action]raftlogv1.ControlCompaction_Action{
	nodev1.ControlCompactionRequest_ACTION_PAUSE:      raftlogv1.ControlCompaction_ACTION_PAUSE,
	nodev1.ControlCompactionRequest_ACTION_RESUME:     raftlogv1.ControlCompaction_ACTION_RESUME,
	nodev1.ControlCompactionRequest_ACTION_RETRY_JOB:  raftlogv1.ControlCompaction_ACTION_RETRY_JOB,
	nodev1.ControlCompactionRequest_ACTION_CANCEL_JOB: raftlogv1.ControlCompaction_ACTION_CANCEL_JOB,
}

func (s service) controlCompaction(ctx context.Context, request *nodev1.ControlCompactionRequest) (changed bool, err error) {
	action, known := controlActions[request.GetAction()]
	if !known {
		return false, fmt.Errorf("%w: %s is no action", ErrBadRequest, request.GetAction())
	}
	ofJob := action == raftlogv1.ControlCompaction_ACTION_RETRY_JOB || action == raftlogv1.ControlCompaction_ACTION_CANCEL_JOB
	if ofJob != (request.GetJob() != "") {
		return false, fmt.Errorf("%w: retry and cancel need the name of a job, pause and resume take none", ErrBadRequest)
	}
	g, err := s.dataGroup(request.GetGroupId())
	if err != nil {
		return false, err
	}
	payload, err := (&raftlogv1.ControlCompaction{Action: action, Job: request.GetJob()}).MarshalVT()
	if err != nil {
		return false, err
	}
	result, err := g.Propose(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_CONTROL_COMPACTION, RequestId: newRequestID(), Payload: payload,
	})
	if err != nil {
		return false, err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK:
		return true, nil
	case raftlogv1.Result_STATUS_ALREADY:
		return false, nil
	case raftlogv1.Result_STATUS_CONFLICT:
		return false, fmt.Errorf("%w: %s: it has ended, or was never of this group; look at the group's compaction status", ErrBadRequest, result.GetMessage())
	default:
		return false, fmt.Errorf("%w: %s: %s", ErrRefused, result.GetStatus(), result.GetMessage())
	}
}
