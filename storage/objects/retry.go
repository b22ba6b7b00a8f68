package objects

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// RetryOptions bound how long an operation may take: Attempts times Timeout, and
// the waits between them. Zeros mean the defaults: 10 s, 3 attempts, waits of up
// to 100 ms, 200 ms, and so on up to 2 s.
type RetryOptions struct {
	// Timeout is for one attempt; of lists, for what comes next.
	Timeout  time.Duration
	Attempts int
	// FirstWait is the longest first wait. Each is drawn from nothing to its
	// longest, which doubles each time: many who failed together do not come back
	// together.
	FirstWait time.Duration
}

const longestWait = 2 * time.Second

// errTimeout is a fault of the store, not of whoever asked.
var errTimeout = errors.New("no answer in time")

// retrying tries again what failed for reasons that pass.
type retrying struct {
	inner   Bucket
	options RetryOptions
	retries *prometheus.CounterVec
}

// Retrying returns a bucket that tries again what failed for reasons that pass,
// and bounds how long it takes. It tries all of it again except PutIfAbsent: that
// may have been done, and would be refused then for what it did itself. A list
// goes on behind the last entry that it yielded; each entry gives it new
// attempts.
func Retrying(bucket Bucket, options RetryOptions, metrics prometheus.Registerer) (Bucket, error) {
	if options.Timeout <= 0 {
		options.Timeout = 10 * time.Second
	}
	if options.Attempts <= 0 {
		options.Attempts = 3
	}
	if options.FirstWait <= 0 {
		options.FirstWait = 100 * time.Millisecond
	}
	retries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "skerry_objects_retries_total", Help: "Attempts at operations on the object store after one that failed, by operation.",
	}, []string{"operation"})
	return &retrying{bucket, options, retries}, metrics.Register(retries)
}

// passes tells whether another attempt may succeed.
func passes(err error) bool {
	for _, lasting := range []error{ErrNotFound, ErrExists, ErrTooLarge, ErrName, ErrRange, ErrRefused, ErrUnsupported} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return err != nil
}

// wait lets time pass before another attempt; false if there is to be none.
func (r *retrying) wait(ctx context.Context, operation string, failed int) bool {
	if failed >= r.options.Attempts {
		return false
	}
	longest := min(longestWait, r.options.FirstWait<<(failed-1))
	timer := time.NewTimer(rand.N(longest))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		r.retries.WithLabelValues(operation).Inc()
		return true
	}
}

func (r *retrying) once(ctx context.Context, operation func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.Timeout, fmt.Errorf("%w: %s", errTimeout, r.options.Timeout))
	defer cancel()
	return operation(ctx)
}

func (r *retrying) do(ctx context.Context, name string, operation func(ctx context.Context) error) error {
	for failed := 1; ; failed++ {
		err := r.once(ctx, operation)
		if !passes(err) || ctx.Err() != nil || !r.wait(ctx, name, failed) {
			return err
		}
	}
}

func (r *retrying) Get(ctx context.Context, name string, limit int64) (content []byte, err error) {
	err = r.do(ctx, operationGet, func(ctx context.Context) error {
		content, err = r.inner.Get(ctx, name, limit)
		return err
	})
	return content, err
}

func (r *retrying) GetRange(ctx context.Context, name string, offset, length int64) (content []byte, size int64, err error) {
	err = r.do(ctx, operationGetRange, func(ctx context.Context) error {
		content, size, err = r.inner.GetRange(ctx, name, offset, length)
		return err
	})
	return content, size, err
}

func (r *retrying) Put(ctx context.Context, name string, content []byte) error {
	return r.do(ctx, operationPut, func(ctx context.Context) error { return r.inner.Put(ctx, name, content) })
}

func (r *retrying) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	return r.once(ctx, func(ctx context.Context) error { return r.inner.PutIfAbsent(ctx, name, content) })
}

func (r *retrying) Delete(ctx context.Context, name string) error {
	return r.do(ctx, operationDelete, func(ctx context.Context) error { return r.inner.Delete(ctx, name) })
}

func (r *retrying) Attributes(ctx context.Context, name string) (attributes Attributes, err error) {
	err = r.do(ctx, operationAttributes, func(ctx context.Context) error {
		attributes, err = r.inner.Attributes(ctx, name)
		return err
	})
	return attributes, err
}

func (r *retrying) List(ctx context.Context, options ListOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		options := options
		for failed := 1; ; failed++ {
			last, over, err := r.listOnce(ctx, options, yield)
			if over {
				return
			}
			if last != options.After {
				options.After, failed = last, 1
			}
			if passes(err) && ctx.Err() == nil && r.wait(ctx, operationList, failed) {
				continue
			}
			if err != nil {
				yield(Entry{}, err)
			}
			return
		}
	}
}

// listOnce yields what comes, up to a fault, and returns the last entry's name;
// over if the caller wants no more.
func (r *retrying) listOnce(ctx context.Context, options ListOptions, yield func(Entry, error) bool) (last string, over bool, err error) {
	last = options.After
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// It runs while the store is to answer, not while the caller works.
	timer := time.AfterFunc(r.options.Timeout, func() { cancel(fmt.Errorf("%w: %s", errTimeout, r.options.Timeout)) })
	defer timer.Stop()
	for entry, err := range r.inner.List(ctx, options) {
		timer.Stop()
		if err != nil {
			return last, false, err
		}
		last = entry.Name
		if !yield(entry, nil) {
			return last, true, nil
		}
		timer.Reset(r.options.Timeout)
	}
	return last, false, nil
}

// Check tries its own operations again, by way of the others.
func (r *retrying) Check(ctx context.Context) error { return check(ctx, r) }

func (r *retrying) String() string { return r.inner.String() }
