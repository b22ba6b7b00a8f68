package faultproxy

import (
	"sync"
	"time"
)

// Mode is what happens to a flow.
type Mode int

const (
	// Pass lets bytes through, after Delay and no faster than Rate.
	Pass Mode = iota
	// Drop holds them, with ends of connections, until the rule changes.
	Drop
	// Reset resets open connections that carry the flow, in either direction, and
	// new ones.
	Reset
	// Refuse resets new connections that From dials; open ones go on.
	Refuse
)

func (m Mode) String() string {
	switch m {
	case Pass:
		return "pass"
	case Drop:
		return "drop"
	case Reset:
		return "reset"
	case Refuse:
		return "refuse"
	}
	return "unknown"
}

// Rule says what happens to a flow. The zero value lets everything pass.
type Rule struct {
	Mode Mode
	// How much later bytes arrive. What is under way is bounded, so a delay bounds
	// the throughput, too.
	Delay time.Duration
	// Bytes per second of each connection; 0 for no limit.
	Rate int
}

// Flow is the bytes from one host to another.
type Flow struct{ From, To string }

// path is the state of a flow. Links hold on to it.
type path struct {
	mu      sync.Mutex
	rule    Rule
	changed chan struct{} // closed when the rule is replaced
	bytes   int64         // delivered
	held    int           // chunks, ends and dials that wait for the rule to change
}

func newPath() *path { return &path{changed: make(chan struct{})} }

func (p *path) set(rule Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
	close(p.changed)
	p.changed = make(chan struct{})
}

// get returns the rule, and what is closed when it is not valid any more.
func (p *path) get() (Rule, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rule, p.changed
}

// await returns when something that came at a time may be delivered: true, or
// false if done was closed before.
func (p *path) await(came time.Time, done <-chan struct{}) bool {
	for {
		rule, changed := p.get()
		var due <-chan time.Time
		if rule.Mode != Drop {
			wait := time.Until(came.Add(rule.Delay))
			if rule.Delay == 0 || wait <= 0 {
				return true
			}
			timer := time.NewTimer(wait)
			defer timer.Stop()
			due = timer.C
		}
		if !p.wait(rule, changed, due, done) {
			return false
		}
	}
}

// wait returns false if done was closed first.
func (p *path) wait(rule Rule, changed <-chan struct{}, due <-chan time.Time, done <-chan struct{}) bool {
	if rule.Mode == Drop {
		p.count(0, 1)
		defer p.count(0, -1)
	}
	select {
	case <-changed:
	case <-due:
	case <-done:
		return false
	}
	return true
}

func (p *path) count(bytes, held int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(bytes)
	p.held += held
}
