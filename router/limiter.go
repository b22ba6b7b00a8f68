package router

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// limiter lets a bounded number of requests run and a bounded number wait;
// more are refused at once: a queue that grows without bound only makes every
// answer come too late.
type limiter struct {
	places  chan struct{} // full while as many run as may
	waiting chan struct{} // full while as many wait as may
	refused prometheus.Counter
}

func newLimiter(running, waiting int, refused prometheus.Counter) *limiter {
	return &limiter{make(chan struct{}, running), make(chan struct{}, waiting), refused}
}

// enter must be followed by leave if it returns nil.
func (l *limiter) enter(ctx context.Context) error {
	select {
	case l.places <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.waiting <- struct{}{}:
		defer func() { <-l.waiting }()
	default:
		l.refused.Inc()
		return status.Error(codes.Unavailable, "too many requests in progress")
	}
	select {
	case l.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func (l *limiter) leave() { <-l.places }
