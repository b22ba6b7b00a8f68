package router

import (
	"context"
	"errors"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// spentError ends a request that may be repeated: its time is over. It wraps
// what the last attempt said.
type spentError struct{ cause error }

func (e *spentError) Error() string { return e.cause.Error() }
func (e *spentError) Unwrap() error { return e.cause }

// edge makes the error that a client sees. Clients retry every code but
// INVALID_ARGUMENT up to 50 times, follow a leader hint in a detail, and know
// nothing of ABORTED; so the only codes are INVALID_ARGUMENT, UNAVAILABLE,
// INTERNAL, CANCELLED and DEADLINE_EXCEEDED, without details.
func (f *fanout) edge(caller, inner context.Context, name string, err error) error {
	var spent *spentError
	s := asStatus(err)
	if errors.As(err, &spent) || s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded {
		return f.ended(caller, inner, name, err)
	}
	if s.Code() == codes.InvalidArgument {
		return status.Error(codes.InvalidArgument, s.Message())
	}
	f.log.Error("request failed", zap.String("call", name), zap.Error(err))
	return status.Error(codes.Internal, s.Message())
}

// ended tells whose time is over. A node sees a deadline a little earlier than
// the router's timers do; so it is not asked whether the caller's deadline has
// passed, but whether it is the one that counts.
func (f *fanout) ended(caller, inner context.Context, name string, err error) error {
	if caller.Err() != nil {
		return status.FromContextError(caller.Err()).Err()
	}
	own, limited := caller.Deadline()
	used, _ := inner.Deadline()
	if limited && !own.After(used) && asStatus(err).Code() == codes.DeadlineExceeded {
		return status.FromContextError(context.DeadlineExceeded).Err()
	}
	f.metrics.spent.WithLabelValues(name).Inc()
	f.log.Warn("gave up", zap.String("call", name), zap.Error(err))
	return status.Errorf(codes.Unavailable, "%s: gave up: %s", name, asStatus(err).Message())
}
