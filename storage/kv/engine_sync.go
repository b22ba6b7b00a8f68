package kv

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// syncer makes commits durable, one flush for all who wait.
//
//	caller A ── flush 1 ──────┤
//	caller B    (waits)       ├── flush 2 ──┤
//	caller C    (joins B)                   ┤
//
// B's flush begins after B called, so everything B committed before is in it.
type syncer struct {
	flush   func() error
	running chan struct{} // capacity 1; full while a flush runs

	mu   sync.Mutex
	next *syncCall // the flush that has not begun yet
}

type syncCall struct {
	done chan struct{}
	err  error
}

func newSyncer(flush func() error) *syncer {
	return &syncer{flush: flush, running: make(chan struct{}, 1)}
}

func (s *syncer) sync() error {
	s.mu.Lock()
	if c := s.next; c != nil {
		s.mu.Unlock()
		<-c.done
		return c.err
	}
	c := &syncCall{done: make(chan struct{})}
	s.next = c
	s.mu.Unlock()

	s.running <- struct{}{}
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	c.err = s.flush()
	<-s.running
	close(c.done)
	return c.err
}

// durable makes all commits of an engine up to now survive a crash.
type durable struct {
	sync    func() error  // what makes them so
	written atomic.Uint64 // commits applied
	safe    uint64        // value of written that is known durable; owned by the running flush
}

// flush returns nil when everything applied before the call is durable.
func (d *durable) flush() error {
	written := d.written.Load()
	if written == d.safe {
		return nil
	}
	if err := d.sync(); err != nil {
		return fmt.Errorf("kv: sync: %w", err)
	}
	d.safe = written
	return nil
}
