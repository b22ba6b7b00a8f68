// Package history judges what clients of a cluster saw: calls with the times
// when they began and ended, and what was answered. It knows nothing of how the
// cluster works, only what it promises:
//
//	add ├──────────┤ acknowledged
//	                     ├ query ┤ must find it, once
//	 ├ query ┤ must not ├ query ┤ may; if it does, every later query must
//
// A datum is what is added, and what is found, once: data, not blocks, since
// compaction replaces blocks by others with the same data.
//
// Two judges look at the same history. Check and Jobs.Check take time linear in
// its size, but for sorting, and are exact for what they claim: data only ever
// appear. Porcupine's general checker with the models here is slow, and there to
// check the checkers.
package history

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Unknown is the end of a call whose outcome nobody knows: it may take effect at
// any time after its begin, or never.
const Unknown int64 = -1

// Clock gives the times of a history: nanoseconds since its start, not bent by
// changes of the system's clock. One history has one clock.
type Clock struct{ start time.Time }

// NewClock starts a clock.
func NewClock() Clock { return Clock{time.Now()} }

// Now is the time of an event.
func (c Clock) Now() int64 { return int64(time.Since(c.start)) }

// Violation is one broken promise.
type Violation struct {
	Rule   string
	Detail string
}

func (v Violation) String() string { return v.Rule + ": " + v.Detail }

// shownViolations bounds what is kept of a hopeless history, for each rule.
const shownViolations = 20

// Violations are the first ones of each rule, and the number of all.
type Violations struct {
	First []Violation
	Count int

	byRule map[string]int
}

func (v *Violations) add(rule, format string, args ...any) {
	if v.byRule == nil {
		v.byRule = map[string]int{}
	}
	v.Count++
	if v.byRule[rule]++; v.byRule[rule] <= shownViolations {
		v.First = append(v.First, Violation{rule, fmt.Sprintf(format, args...)})
	}
}

// at shows a time.
func at(t int64) string {
	switch t {
	case Unknown:
		return "?"
	case math.MaxInt64:
		return "never"
	}
	return time.Duration(t).String()
}

// log is a list that many append to.
type log[T any] struct {
	mu      sync.Mutex
	entries []T
}

func (l *log[T]) record(entry T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry)
}

// list is what was recorded by now.
func (l *log[T]) list() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[:len(l.entries):len(l.entries)]
}
