package importer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Waits between attempts of a call.
const (
	pauseMin = 100 * time.Millisecond
	pauseMax = 5 * time.Second
)

// call makes a call, and repeats it while it may pass. All calls may be repeated.
func call[Q, A any](ctx context.Context, i *Import, method func(context.Context, *Q, ...grpc.CallOption) (*A, error), request *Q) (*A, error) {
	until := time.Now().Add(i.options.RetryFor)
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		limited, cancel := context.WithTimeout(ctx, i.options.CallTimeout)
		answer, err := method(limited, request)
		cancel()
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		default:
			return nil, err
		}
		wait := pause/2 + rand.N(pause/2)
		if time.Now().Add(wait).After(until) {
			return nil, fmt.Errorf("tried for %s: %w", i.options.RetryFor, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// step counts what a step has done, and tells now and then. Safe for concurrent use.
type step struct {
	tell  func(Progress)
	mu    sync.Mutex
	state Progress
	began time.Time
	told  time.Time
}

// tellInterval is how often progress is told at most.
const tellInterval = 200 * time.Millisecond

func (i *Import) step(name string, total uint64) *step {
	now := time.Now()
	return &step{tell: i.options.Progress, state: Progress{Step: name, Total: total}, began: now, told: now}
}

func (s *step) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Done += uint64(n)
	now := time.Now()
	if now.Sub(s.told) < tellInterval {
		return
	}
	s.told, s.state.Elapsed = now, now.Sub(s.began)
	s.tell(s.state)
}

// end tells the last state and returns how long the step took.
func (s *step) end() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Elapsed = time.Since(s.began)
	s.tell(s.state)
	return s.state.Elapsed
}
