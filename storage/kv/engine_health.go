package kv

import (
	"fmt"
	"sync"
	"time"

	"github.com/skerrydb/skerry/storage/paced"
)

// health knows what keeps writes from getting on.
//
//	a write stall        from its begin to its end
//	a failing flush      from its first failure to a success; the same for compactions
//	a slow disk          while its watcher repeats so
//
// While background work fails it is tried again at once by the storage engine, for ever; the pace
// says how long to hold it up.
type health struct {
	mu         sync.Mutex
	stall      string // the reason of a write stall, "" if there is none
	flush      error  // why the latest flush failed, nil if it did not
	compaction error
	slow       string    // the file operation that is slow
	slowUntil  time.Time // when that is forgotten

	pace paced.Pace
}

const (
	// slowDiskAfter is how long a file operation may take.
	slowDiskAfter = 5 * time.Second
	// slowDiskMemory outlasts the time between two reports of one operation.
	slowDiskMemory = 5 * time.Second
)

func (h *health) change(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
}

func (h *health) stalled(reason string) { h.change(func() { h.stall = reason }) }

func (h *health) failed(of *error, err error) {
	h.change(func() { *of = err })
	h.pace.Failed()
}

func (h *health) succeeded(of *error) {
	h.change(func() { *of = nil })
	h.pace.Succeeded()
}

func (h *health) diskSlow(what string) {
	h.change(func() { h.slow, h.slowUntil = what, time.Now().Add(slowDiskMemory) })
}

// reason returns what keeps writes from getting on, "" if nothing does.
func (h *health) reason() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.flush != nil:
		return fmt.Sprintf("flush fails: %v", h.flush)
	case h.compaction != nil:
		return fmt.Sprintf("compaction fails: %v", h.compaction)
	case h.stall != "":
		return "writes stopped: " + h.stall
	case h.slow != "" && time.Now().Before(h.slowUntil):
		return "disk is slow: " + h.slow
	}
	return ""
}

// Stalled says why the store does not get on with writing, "" if it does: commits are held up until
// memory is written out, flushes or compactions fail, or a file operation hangs. Commits may still
// return meanwhile, and reads are not held up; but until it passes nothing more becomes durable with
// NoWAL, and in the end commits wait. It passes by itself when the cause does.
func (e *Engine) Stalled() (reason string) { return e.events.health.reason() }
