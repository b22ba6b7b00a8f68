package raftlog

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	retryDelayMin = 10 * time.Millisecond
	retryDelayMax = time.Second
)

// pacedFS holds up the making of new tables while that fails: the store below would
// try again at once, for ever, and hammer a full or broken disk. Everything else goes
// on at once.
type pacedFS struct {
	vfs.FS
	failures atomic.Int64 // of background work, in a row
	closed   chan struct{}
}

func newPacedFS(inner vfs.FS) *pacedFS { return &pacedFS{FS: inner, closed: make(chan struct{})} }

// hurry ends all holding up, so that the store can be closed.
func (p *pacedFS) hurry() { close(p.closed) }

// ended takes the outcome of background work.
func (p *pacedFS) ended(err error) {
	if err == nil {
		p.failures.Store(0)
	}
}

// Create makes a file, after a while if it is a table and the last one failed.
func (p *pacedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if failures := p.failures.Load(); failures > 0 && strings.HasSuffix(name, ".sst") {
		timer := time.NewTimer(min(retryDelayMin<<min(failures-1, 10), retryDelayMax))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.closed:
		}
	}
	return p.FS.Create(name, category)
}

// Unwrap returns the file system below.
func (p *pacedFS) Unwrap() vfs.FS { return p.FS }
