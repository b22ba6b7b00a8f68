package dlq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/proto/blockobject"
	"github.com/skerrydb/skerry/storage/objects"
)

// rejectionsLogged bounds what one sweep says about single entries.
const rejectionsLogged = 10

// sweep goes once through folders of a lane.
type sweep struct {
	*lane
	ctx    context.Context
	stop   context.CancelCauseFunc
	log    *zap.Logger
	slots  chan struct{} // of entries
	access chan struct{} // of operations on objects
	budget *budget

	working sync.WaitGroup
	mu      sync.Mutex
	result  Result
	// Why the sweep did not go on.
	cause error
	// The last failure of an entry, which does not end the sweep.
	entryErr error
	rejected int
}

func newSweep(l *lane, workers int, bytes int64) *sweep {
	s := &sweep{
		lane: l, log: l.recovery.log.With(zap.Uint64("group", l.group)),
		slots: make(chan struct{}, entriesPerWorker*workers), access: make(chan struct{}, workers), budget: newBudget(bytes), result: Result{Started: l.recovery.options.Now()},
	}
	s.ctx, s.stop = context.WithCancelCause(l.ctx)
	return s
}

// run goes through the folders. One that cannot be listed holds up no other.
func (s *sweep) run(folders []string) {
	defer s.stop(nil)
	for _, folder := range folders {
		err := s.recovery.walk(s.ctx, objects.ListOptions{Prefix: folder}, s.meet)
		if s.ctx.Err() != nil {
			break
		}
		if err != nil {
			s.mu.Lock()
			s.result.Err = fmt.Errorf("list %s: %w", folder, err)
			s.mu.Unlock()
		}
	}
	s.working.Wait()
}

// stopped tells whether the sweep ended early.
func (s *sweep) stopped() bool { return s.cause != nil || s.lane.ctx.Err() != nil }

// meet takes an entry up, once there is a place for it.
func (s *sweep) meet(e objects.Entry) {
	k, ok := blockobject.ParseDeadLetter(e.Name)
	if !ok {
		s.count(stray)
		return
	}
	written := e.Modified
	if written.IsZero() {
		written = ulid.Time(k.ID.Time())
	}
	s.see(written)
	s.mu.Lock()
	s.result.Met++
	s.mu.Unlock()
	if s.troubles.waits(e.Name) {
		s.left(written)
		return
	}
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return
	}
	weight, ok := s.budget.take(s.ctx, e.Size)
	if !ok {
		<-s.slots
		return
	}
	s.recovery.metrics.inProgress.Inc()
	s.working.Go(func() {
		defer func() {
			s.recovery.metrics.inProgress.Dec()
			s.budget.give(weight)
			<-s.slots
		}()
		o, err := s.recover(e, k)
		s.took(e, written, o, err)
	})
}

// took notes how an entry ended. With an error it is still there.
func (s *sweep) took(e objects.Entry, written time.Time, o outcome, err error) {
	s.count(o)
	switch {
	case o.stops():
		s.mu.Lock()
		if s.cause == nil {
			s.cause = err
		}
		s.mu.Unlock()
		s.stop(err)
		s.left(written)
		return
	case err != nil:
		s.troubles.failed(e.Name, err)
		s.left(written)
		s.mu.Lock()
		s.entryErr = fmt.Errorf("%s: %s: %w", e.Name, o, err)
		s.mu.Unlock()
		s.log.Debug("a dead letter could not be recovered, will try again", zap.String("key", e.Name), zap.String("status", string(o)), zap.Error(err))
		return
	}
	s.troubles.ended(e.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case o == success:
		s.result.Recovered++
	case o.rejects():
		s.result.Rejected++
	}
}

// left notes an entry that stays.
func (s *sweep) left(written time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Pending++
	if s.result.Oldest.IsZero() || written.Before(s.result.Oldest) {
		s.result.Oldest = written
	}
}

func (s *sweep) count(o outcome) {
	s.recovery.metrics.attempts.WithLabelValues(string(o)).Inc()
}

// tell logs what was done, if anything was.
func (s *sweep) tell(result string) {
	if s.cause != nil {
		s.log.Info("left the rest of the dead letters to whom they belong", zap.Error(s.cause))
	}
	if s.result.Err != nil {
		s.log.Warn("a sweep for dead letters failed, will try again", zap.Error(s.result.Err))
	}
	if s.result.Recovered+s.result.Rejected == 0 && s.entryErr == nil {
		return
	}
	fields := []zap.Field{
		zap.String("result", result), zap.Uint64("recovered", s.result.Recovered), zap.Uint64("rejected", s.result.Rejected),
		zap.Uint64("left", s.result.Pending), zap.Duration("took", s.result.Ended.Sub(s.result.Started)),
	}
	if s.entryErr != nil {
		s.log.Warn("some dead letters could not be recovered, will try again", append(fields, zap.Error(s.entryErr))...)
		return
	}
	s.log.Info("recovered dead letters", fields...)
}

// budget shares bytes. What is larger than all of it waits for all of it.
type budget struct {
	mu    sync.Mutex
	size  int64
	free  int64
	freed chan struct{}
}

func newBudget(bytes int64) *budget {
	return &budget{size: bytes, free: bytes, freed: make(chan struct{}, 1)}
}

// take is called by one goroutine at a time.
func (b *budget) take(ctx context.Context, bytes int64) (weight int64, ok bool) {
	weight = min(max(bytes, 1), b.size)
	for {
		b.mu.Lock()
		if b.free >= weight {
			b.free -= weight
			b.mu.Unlock()
			return weight, true
		}
		b.mu.Unlock()
		select {
		case <-b.freed:
		case <-ctx.Done():
			return 0, false
		}
	}
}

func (b *budget) give(weight int64) {
	b.mu.Lock()
	b.free += weight
	b.mu.Unlock()
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

var errStopped = errors.New("the sweep was stopped")
