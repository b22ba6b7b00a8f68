package shardgroup

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/statemachine"
)

// sweepPause is the time between sweeps while there is more to remove than one may.
const sweepPause = 5 * time.Second

// sweeper removes expired index shards of a group while this replica leads it.
// Each sweep judges the state as it is: one that was lost, or came too late, is
// made up for by the next.
type sweeper struct {
	group    *Group
	config   retention.Config
	interval time.Duration
	periods  func() (retention.Periods, error)
	now      func() time.Time
	metrics  *compactionMetrics
	log      *zap.Logger

	// Is sweep, except in tests of run.
	once func(ctx context.Context, epoch uint64, after retention.Place) (next retention.Place, err error)
}

func (n *Node) newSweeper(g *Group) *sweeper {
	s := &sweeper{
		group: g, config: n.options.Retention, interval: n.options.RetentionInterval, periods: n.periods, now: n.options.Now,
		metrics: n.metrics.compaction, log: n.log.With(zap.Uint64("group", g.id)),
	}
	s.once = s.sweep
	return s
}

// periods returns how long tenants keep their data now.
func (n *Node) periods() (retention.Periods, error) {
	switch {
	case n.options.Periods != nil:
		return n.options.Periods()
	case n.overrides == nil:
		return n.options.Retention.Periods, nil
	}
	own, err := n.overrides.Periods()
	return retention.Periods{Default: n.options.Retention.Periods.Default, Overrides: own}, err
}

// run sweeps once in an interval, for the first time after a whole one, until the
// context ends. The epoch is that of the leadership which it belongs to.
func (s *sweeper) run(ctx context.Context, epoch uint64) {
	if s.interval <= 0 {
		return
	}
	timer := time.NewTimer(s.interval)
	defer timer.Stop()
	var after retention.Place
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next, err := s.once(ctx, epoch, after)
		switch {
		case ctx.Err() != nil:
			s.metrics.sweeps.WithLabelValues("superseded").Inc()
			return
		case err != nil:
			s.metrics.sweeps.WithLabelValues("failed").Inc()
			s.log.Warn("a sweep for expired data failed, will try again", zap.Duration("in", s.interval), zap.Error(err))
		default:
			after = next
		}
		if err == nil && next != (retention.Place{}) {
			// There is more than one sweep's work.
			timer.Reset(min(s.interval, sweepPause))
			continue
		}
		timer.Reset(s.interval)
	}
}

// sweep removes what has expired behind a place, as far as the budget goes, and
// returns where the next sweep begins.
func (s *sweeper) sweep(ctx context.Context, epoch uint64, after retention.Place) (retention.Place, error) {
	var plan retention.Plan
	err := s.group.inspect(func(v statemachine.View) (err error) {
		plan, err = planRetention(v, s.config, s.periods, s.now, after)
		return err
	})
	if err != nil {
		return after, err
	}
	if len(plan.Remove) > 0 {
		if superseded, err := s.remove(ctx, epoch, plan.Remove); superseded || err != nil {
			return after, err
		}
	}
	outcome := "complete"
	if plan.Next != (retention.Place{}) {
		outcome = "budget"
	}
	s.metrics.sweeps.WithLabelValues(outcome).Inc()
	s.metrics.lastSweep.Set(float64(s.now().UnixMilli()) / 1000)
	return plan.Next, nil
}

// planRetention plans a sweep with the periods of now.
func planRetention(v statemachine.View, config retention.Config, periods func() (retention.Periods, error), now func() time.Time, after retention.Place) (retention.Plan, error) {
	var err error
	if config.Periods, err = periods(); err != nil {
		return retention.Plan{}, fmt.Errorf("%w: retention periods are not known: %w", ErrNotReady, err)
	}
	if err := config.Periods.Validate(); err != nil {
		return retention.Plan{}, fmt.Errorf("retention periods: %w", err)
	}
	// Not log time: what a node whose clock ran ahead once wrote must not make data
	// expire for all.
	return retention.Make(planView{v}, config, planner.Time(now().UnixNano()), after)
}

// remove proposes the removals. It reports whether another leader came first:
// then it is his to sweep.
func (s *sweeper) remove(ctx context.Context, epoch uint64, remove []retention.Removal) (superseded bool, err error) {
	payload, err := retentionDecision(epoch, remove).MarshalVT()
	if err != nil {
		return false, err
	}
	result, err := s.group.Propose(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_DECIDE_RETENTION, RequestId: newRequestID(), Payload: payload,
	})
	if err != nil {
		return false, err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK:
	case raftlogv1.Result_STATUS_STALE_LEADER:
		s.metrics.sweeps.WithLabelValues("superseded").Inc()
		return true, nil
	default:
		return false, fmt.Errorf("%w: %s: %s", ErrRefused, result.GetStatus(), result.GetMessage())
	}
	outcome := &raftlogv1.RetentionOutcome{}
	if err := outcome.UnmarshalVT(result.GetPayload()); err != nil {
		return false, err
	}
	s.metrics.removedShards.Add(float64(outcome.GetShards()))
	s.metrics.removedBlocks.Add(float64(outcome.GetBlocks()))
	s.metrics.removedObjects.Add(float64(outcome.GetObjectBytes()))
	s.log.Info("removed expired data", zap.Uint64("index_shards", outcome.GetShards()), zap.Uint64("blocks", outcome.GetBlocks()),
		zap.Uint64("object_bytes", outcome.GetObjectBytes()), zap.Uint64("changed_meanwhile", outcome.GetSkipped()))
	return false, nil
}
