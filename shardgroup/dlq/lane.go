package dlq

import (
	"context"
	"sync"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// lane recovers the entries of one group while the process leads it. Lanes do not
// wait for each other.
type lane struct {
	recovery *Recovery
	group    uint64
	// Of the leadership.
	ctx      context.Context
	troubles *troubles
	// The folder that the last sweep came to, if there were more than one may take.
	// Of the goroutine that plans.
	cursor string

	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	busy    bool
	// It is to be swept at the next occasion; if it is busy, once more.
	due   bool
	last  Result
	stuck time.Time
	// When the oldest entry was written, as far as the running sweep has seen.
	oldest time.Time
}

// Result is what a sweep of a group came to.
type Result struct {
	Started, Ended time.Time
	// Entries that were met, are indexed now, were moved aside, and are still there.
	Met, Recovered, Rejected, Pending uint64
	// When the oldest of those still there was written; zero for none.
	Oldest time.Time
	// The last failure; nil for none.
	Err error
}

func newLane(ctx context.Context, r *Recovery, group uint64) *lane {
	return &lane{
		recovery: r, group: group, ctx: ctx,
		troubles: newTroubles(r.options.BackoffMin, r.options.BackoffMax, r.options.Now),
		due:      true,
	}
}

// ready tells whether the lane is to be swept, and can be. What is asked for from
// here on counts for the next sweep.
func (l *lane) ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy || !l.due {
		return false
	}
	l.due = false
	return true
}

// interval makes a lane due that is idle: sweeps of one do not overlap.
func (l *lane) interval() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = l.due || !l.busy
}

// start sweeps folders in a goroutine of its own; whole, if there are no others but
// those that full tells of. It is called for lanes that are idle, by the goroutine
// that plans.
func (l *lane) start(folders []string, full, whole bool, workers int, bytes int64) {
	whole = whole && !full && l.cursor == ""
	l.cursor = ""
	if full {
		l.cursor = folders[len(folders)-1]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed || l.busy:
	case len(folders) == 0 && !whole:
		// There may be entries in what was not listed: what is known of them holds.
	case len(folders) == 0:
		now := l.recovery.options.Now()
		l.settle(Result{Started: now, Ended: now}, whole)
	default:
		l.busy = true
		l.running.Go(func() {
			s := newSweep(l, workers, bytes)
			s.run(folders)
			l.ended(s, whole)
		})
	}
}

// ended takes the result of a sweep.
func (l *lane) ended(s *sweep, whole bool) {
	result := "complete"
	switch {
	case s.stopped():
		result = "stopped"
	case s.result.Err != nil:
		result = "failed"
	}
	s.result.Ended = l.recovery.options.Now()
	l.recovery.metrics.sweeps.WithLabelValues(result).Inc()
	l.recovery.metrics.duration.Observe(s.result.Ended.Sub(s.result.Started).Seconds())
	s.tell(result)
	if s.result.Err == nil {
		s.result.Err = s.entryErr
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	if l.due {
		l.recovery.Kick()
	}
	if result == "failed" {
		s.result.keep(l.last)
	}
	l.settle(s.result, whole && result == "complete")
}

// keep takes over what was known before of entries that a sweep did not meet, since it
// could not list them: they are not gone.
func (r *Result) keep(before Result) {
	known := before.Pending - min(before.Pending, r.Recovered+r.Rejected)
	if known > 0 && (r.Oldest.IsZero() || before.Oldest.Before(r.Oldest)) {
		r.Oldest = before.Oldest
	}
	r.Pending = max(r.Pending, known)
}

// settle takes a result; whole, if the sweep met all entries of the group. The lane
// is locked.
func (l *lane) settle(result Result, whole bool) {
	l.troubles.swept(whole)
	switch {
	case result.Pending == 0, result.Pending < l.last.Pending:
		l.stuck = time.Time{}
	case l.stuck.IsZero():
		l.stuck = result.Ended
	}
	l.last, l.oldest = result, result.Oldest
}

// forgive lets all entries be tried at once, also those that a sweep under way has
// passed.
func (l *lane) forgive() {
	l.troubles.forgive()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = true
}

// owns tells whether the lane's group owns a point, as the map says now.
func (l *lane) owns(keyspace clusterv1.Keyspace, point uint64) bool {
	group, known := l.recovery.cluster.Owner(keyspace, point)
	return known && group == l.group
}

// see notes when an entry was written, while a sweep runs.
func (l *lane) see(written time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oldest.IsZero() || written.Before(l.oldest) {
		l.oldest = written
	}
}

// state returns the last result, since when as many entries are left, the oldest
// entry, and whether a sweep is under way.
func (l *lane) state() (last Result, stuck, oldest time.Time, busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.stuck, l.oldest, l.busy
}

// close waits for what is under way; nothing begins any more.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.running.Wait()
}
