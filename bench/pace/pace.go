// Package pace makes calls and measures them: at a fixed rate of arrival (open
// loop), or as fast as a number of callers can (closed loop).
//
// In an open loop a call's latency counts from when it was to begin, however late
// it really did: a server that stalls for a second makes all calls of that second
// late, also those that nobody could send. What is not begun in time is counted,
// never left out.
package pace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Call makes the n-th call, on behalf of one of the callers. The function that it
// returns, which may be nil, looks at the answer after the clock has stopped; its
// error is a wrong answer.
type Call func(ctx context.Context, caller int, n uint64) (check func() error, err error)

// Options are a run's. Duration, Calls or Stop must end it.
type Options struct {
	// Calls under way at once: of a closed loop always, of an open one at most.
	Callers int
	// Calls begun each second; 0 for a closed loop.
	Rate float64
	// No call is to begin later.
	Duration time.Duration
	// Calls in all.
	Calls uint64
	// No call begins once it returns true, if set.
	Stop func() bool
	// How long an open loop works off what is late after Duration.
	Grace time.Duration
	// Called each ProgressEach, if set, from one goroutine.
	Progress     func(Progress)
	ProgressEach time.Duration
}

// Progress is what a run has done so far.
type Progress struct {
	Elapsed                     time.Duration
	Answered, Failed, Wrong     uint64
	Calls, Unsent               uint64 // of Options; not begun in time
	RecentRate, RecentErrorRate float64
}

// Validate reports every fault.
func (o *Options) Validate() error {
	var faults []error
	if o.Callers < 1 || o.Callers > 1<<16 {
		faults = append(faults, fmt.Errorf("%d callers: want 1 to %d", o.Callers, 1<<16))
	}
	if o.Rate < 0 || o.Rate > 1e7 || math.IsNaN(o.Rate) {
		faults = append(faults, fmt.Errorf("rate %g: want 0 to 10,000,000 calls a second", o.Rate))
	}
	if o.Duration <= 0 && o.Calls == 0 && o.Stop == nil {
		faults = append(faults, errors.New("neither a duration nor a number of calls nor anything else ends the run"))
	}
	return errors.Join(faults...)
}

// Run makes calls until it is done or the context ends. The error is one of
// options; what became of calls is in the measurement.
func Run(ctx context.Context, o Options, call Call) (*Measurement, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &run{options: o, call: call, began: time.Now(), m: newMeasurement(o.Rate > 0)}
	stop := r.showProgress()
	var callers sync.WaitGroup
	for caller := range o.Callers {
		callers.Go(func() { r.work(ctx, caller) })
	}
	callers.Wait()
	r.m.end(time.Since(r.began))
	stop()
	return r.m, nil
}

type run struct {
	options Options
	call    Call
	began   time.Time
	next    atomic.Uint64
	m       *Measurement
}

func (r *run) work(ctx context.Context, caller int) {
	for ctx.Err() == nil && (r.options.Stop == nil || !r.options.Stop()) {
		n := r.next.Add(1) - 1
		if r.options.Calls > 0 && n >= r.options.Calls {
			return
		}
		intended, more := r.arrival(ctx, n)
		if !more {
			return
		}
		begun := time.Now()
		if r.options.Rate > 0 && r.options.Duration > 0 && begun.Sub(r.began) > r.options.Duration+r.options.Grace {
			r.m.unsent(begun.Sub(r.began), begun.Sub(intended))
			continue
		}
		check, err := r.call(ctx, caller, n)
		ended := time.Now()
		if err != nil && ctx.Err() != nil {
			return // it was ended, and tells nothing
		}
		r.m.record(ended.Sub(r.began), ended.Sub(intended), ended.Sub(begun), err)
		if err == nil && check != nil {
			if err := check(); err != nil {
				r.m.wrong(err)
			}
		}
	}
}

// arrival waits until the n-th call is to begin. There are no more calls after the
// duration.
func (r *run) arrival(ctx context.Context, n uint64) (intended time.Time, more bool) {
	if r.options.Rate == 0 {
		now := time.Now()
		return now, r.options.Duration <= 0 || now.Sub(r.began) < r.options.Duration
	}
	offset := time.Duration(float64(n) / r.options.Rate * float64(time.Second))
	if r.options.Duration > 0 && offset >= r.options.Duration {
		return time.Time{}, false
	}
	intended = r.began.Add(offset)
	if wait := time.Until(intended); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return time.Time{}, false
		}
	}
	return intended, true
}

func (r *run) showProgress() (stop func()) {
	if r.options.Progress == nil || r.options.ProgressEach <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		ticker := time.NewTicker(r.options.ProgressEach)
		defer ticker.Stop()
		var last Progress
		for {
			select {
			case <-ticker.C:
				now := r.m.progress(time.Since(r.began))
				now.Calls = r.options.Calls
				span := (now.Elapsed - last.Elapsed).Seconds()
				now.RecentRate = float64(now.Answered-last.Answered) / span
				now.RecentErrorRate = float64(now.Failed-last.Failed) / span
				r.options.Progress(now)
				last = now
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		showing.Wait()
	}
}
