// Package compactions decides when a Pebble store may compact.
package compactions

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Scheduler lets one Pebble store run as many compactions at a time as its options
// allow, as the scheduler does that Pebble brings along. That one looks ten times a
// second whether more are allowed; this one does so only while compactions run, since
// a store where none runs is granted the next when it asks. So stores at rest wake no
// processor, which is a good part of what a node at rest takes.
//
// It can also keep a store that was just opened from compacting for a while: what was left
// to compact at the end of the last process would take processors from who waits for the
// start to end.
//
// A Scheduler serves the store that it is given to in pebble.Options, once. It may be
// used concurrently, as Pebble does.
type Scheduler struct {
	db    pebble.DBForCompaction
	after time.Duration
	look  *time.Timer // grants what became allowed while compactions run
	begin *time.Timer // ends the time without compactions, nil without one

	mu       sync.Mutex
	held     bool // nothing may run yet
	running  int  // compactions that run, or are being offered
	granting bool
	again    bool // something changed since the grants began
	closed   bool
	settled  sync.Cond // signalled when granting ends
}

var (
	_ pebble.CompactionScheduler   = (*Scheduler)(nil)
	_ pebble.CompactionGrantHandle = (*Scheduler)(nil)
)

// How often to look, while compactions run, whether more are allowed.
const lookEvery = 100 * time.Millisecond

// New returns a scheduler for one store, which compacts nothing until it was open for the
// duration.
func New(after time.Duration) *Scheduler {
	s := &Scheduler{after: after}
	s.settled.L = &s.mu
	s.look = time.AfterFunc(time.Hour, s.grant)
	s.look.Stop()
	return s
}

// Register implements pebble.CompactionScheduler.
func (s *Scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	if s.after > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = true
		s.begin = time.AfterFunc(s.after, s.release)
	}
}

// release lets compactions begin.
func (s *Scheduler) release() {
	s.mu.Lock()
	s.held = false
	s.mu.Unlock()
	s.grant()
}

// Unregister implements pebble.CompactionScheduler. After it nothing is granted.
func (s *Scheduler) Unregister() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.look.Stop()
	if s.begin != nil {
		s.begin.Stop()
	}
	for s.granting {
		s.settled.Wait()
	}
}

// TrySchedule implements pebble.CompactionScheduler. The store keeps what is refused,
// and calls this under its lock: a grant that comes after the refusal finds it.
func (s *Scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.held {
		return false, nil
	}
	if s.running >= s.db.GetAllowedWithoutPermission() {
		s.again = true // what is being offered may not be taken
		return false, nil
	}
	s.running++
	s.look.Reset(lookEvery)
	return true, s
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler. The store
// calls it under its lock, so it must not be called back here.
func (s *Scheduler) UpdateGetAllowedWithoutPermission() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = true
	if s.running > 0 && !s.closed {
		s.look.Reset(0)
	}
}

// Done implements pebble.CompactionGrantHandle.
func (s *Scheduler) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.grant()
}

// Started implements pebble.CompactionGrantHandle.
func (s *Scheduler) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (s *Scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (s *Scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// grant starts what waits, as far as it is allowed.
func (s *Scheduler) grant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = true
	if s.granting || s.held {
		return
	}
	s.granting = true
	for s.again && !s.closed {
		s.again = false
		for !s.closed && s.running < s.db.GetAllowedWithoutPermission() && s.offer() {
		}
	}
	s.granting = false
	s.settled.Broadcast()
	if s.running > 0 && !s.closed {
		s.look.Reset(lookEvery)
	} else {
		s.look.Stop()
	}
}

// offer offers the store to run one more compaction, and tells whether it took it.
// Meanwhile it counts as running, so that not more run than are allowed.
func (s *Scheduler) offer() bool {
	s.running++
	s.mu.Unlock()
	waiting, _ := s.db.GetWaitingCompaction()
	taken := waiting && s.db.Schedule(s)
	s.mu.Lock()
	if !taken {
		s.running--
	}
	return taken
}
