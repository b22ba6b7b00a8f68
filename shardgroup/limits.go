package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skerrydb/skerry/statemachine"
)

// limits bounds the reads of a node: how many there are, how many of them read
// the store at a time, and the bytes of the answers that these build.
//
//	enter ─► read index round ─► begin ─► read the store, reserve bytes ─► end ─► leave
//	  └ refused when full          └ waits for a place        └ refused when spent
type limits struct {
	reading chan struct{} // full while as many read the store as may
	entered chan struct{} // full while as many read or wait as may
	time    time.Duration // that one read may take in the store
	metrics *metrics

	mu    sync.Mutex
	bytes int64 // what is left for answers
}

func newLimits(options Options, metrics *metrics) *limits {
	return &limits{
		reading: make(chan struct{}, options.MaxReads),
		entered: make(chan struct{}, options.MaxReads+options.MaxQueuedReads),
		time:    options.QueryTimeout, metrics: metrics, bytes: options.MaxAnswersBytes,
	}
}

// enter must be followed by leave if it returns nil.
func (l *limits) enter() error {
	select {
	case l.entered <- struct{}{}:
		l.metrics.readsInProgress.Inc()
		return nil
	default:
		l.metrics.readsRefused.WithLabelValues("queue").Inc()
		return fmt.Errorf("%w: %d reads are in progress or wait on the node: try again later, or raise the node's limit of reads", ErrOverloaded, cap(l.entered))
	}
}

func (l *limits) leave() {
	l.metrics.readsInProgress.Dec()
	<-l.entered
}

// begin waits for a place to read the store; it must be followed by end if it
// returns nil.
func (l *limits) begin(ctx context.Context) error {
	select {
	case l.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *limits) end() { <-l.reading }

// reserve takes bytes of answers that are being built; they must be given back
// with release if it returns nil.
func (l *limits) reserve(bytes uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int64(bytes) > l.bytes {
		l.metrics.readsRefused.WithLabelValues("bytes").Inc()
		return fmt.Errorf("%w: answers under construction use up the node's memory for them: try again later, or narrow the time range or the selector", ErrOverloaded)
	}
	l.bytes -= int64(bytes)
	return nil
}

func (l *limits) release(bytes uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += int64(bytes)
}

// Bytes that the answer of a read may take at first. Few answers are larger;
// those are read again with more, so that not every read must reserve what the
// largest might need.
const (
	firstGrant  = 4 << 20
	grantGrowth = 8
)

// granted runs a read within reserved bytes: with few at first, then with more,
// up to what the read allows.
func (l *limits) granted(allowed uint64, read func(maxBytes uint64) (any, error)) (any, error) {
	for grant := uint64(firstGrant); ; grant *= grantGrowth {
		grant = min(grant, allowed)
		if err := l.reserve(grant); err != nil {
			return nil, err
		}
		answer, err := read(grant)
		l.release(grant)
		if err == nil || grant == allowed || !errors.Is(err, statemachine.ErrTooLarge) {
			return answer, err
		}
	}
}

// timed runs a read for no longer than a read may take. A read that takes
// longer is refused for good: it would on every replica.
func (l *limits) timed(ctx context.Context, read func(context.Context) (any, error)) (any, error) {
	limited, cancel := context.WithTimeoutCause(ctx, l.time, ErrTooSlow)
	defer cancel()
	answer, err := read(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil && context.Cause(limited) == ErrTooSlow {
		l.metrics.readsRefused.WithLabelValues("time").Inc()
		return nil, fmt.Errorf("%w than %s: narrow the time range or the selector", ErrTooSlow, l.time)
	}
	return answer, err
}
