// Package paced keeps Pebble from hammering a full or broken disk: it tries a flush or a
// compaction that failed again at once, for ever.
package paced

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Bounds of Pace.Delay.
const (
	DelayMin = 10 * time.Millisecond
	DelayMax = time.Second
)

// Pace knows how often background work has failed in a row. Its methods may be called
// concurrently; the zero value is ready.
type Pace struct{ failures atomic.Int64 }

// Failed notes that background work failed.
func (p *Pace) Failed() { p.failures.Add(1) }

// Succeeded notes that it did not.
func (p *Pace) Succeeded() { p.failures.Store(0) }

// Delay is how long background work should wait before it is tried again: nothing, or
// DelayMin, twice as long after each further failure, up to DelayMax.
func (p *Pace) Delay() time.Duration {
	failures := p.failures.Load()
	if failures == 0 {
		return 0
	}
	return min(DelayMin<<min(failures-1, 10), DelayMax)
}

// FS holds up the making of new tables as long as the pace says. Everything else goes on at
// once.
type FS struct {
	vfs.FS
	pace   *Pace
	closed chan struct{}
}

// New returns a file system over another one.
func New(inner vfs.FS, pace *Pace) *FS {
	return &FS{FS: inner, pace: pace, closed: make(chan struct{})}
}

// Hurry ends all holding up, so that the store can be closed. It must be called once.
func (f *FS) Hurry() { close(f.closed) }

// Create makes a file, after a while if it is a table and background work fails.
func (f *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if delay := f.pace.Delay(); delay > 0 && strings.HasSuffix(name, ".sst") {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-f.closed:
		}
	}
	return f.FS.Create(name, category)
}

// Unwrap returns the file system below.
func (f *FS) Unwrap() vfs.FS { return f.FS }
