package kv

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// flushDelayDeleteRange is how long a range deletion waits in memory for company.
const flushDelayDeleteRange = 10 * time.Second

// engineEvents listens to the storage engine: it passes warnings and errors on to the log, counts
// write stalls and tells a waiting Sync that a flush failed. It is its Logger as well.
type engineEvents struct {
	log        *zap.Logger
	stalls     atomic.Uint64
	stallNanos atomic.Int64
	stalledAt  atomic.Int64
	diskSlow   atomic.Uint64
	failures   atomic.Uint64
	flushErr   chan error // holds at most the first failed flush nobody has read yet
	health     health

	mu         sync.Mutex
	flushEnded error // of the latest flush
}

func newEngineEvents(log *zap.Logger) *engineEvents {
	// A failing flush is tried again for ever: say so a few times a second.
	log = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, 5, 0)
	}))
	return &engineEvents{log: log, flushErr: make(chan error, 1)}
}

// Infof drops the message: it tells of ordinary work only.
func (e *engineEvents) Infof(string, ...any) {}

// Errorf logs at level error.
func (e *engineEvents) Errorf(format string, args ...any) {
	e.log.Error("storage engine", zap.String("message", fmt.Sprintf(format, args...)))
}

// Fatalf logs and panics. The engine calls it when it can neither apply a commit nor undo it, and
// takes a return for success, so returning would lose the commit silently.
func (e *engineEvents) Fatalf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	e.log.Error("storage engine cannot go on", zap.String("message", msg))
	panic("kv: storage engine cannot go on: " + msg)
}

func (e *engineEvents) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: e.backgroundError,
		CompactionEnd: func(i pebble.CompactionInfo) {
			if i.Err == nil {
				e.health.succeeded(&e.health.compaction)
			}
		},
		DataCorruption: e.dataCorruption,
		DiskSlow:       e.slowDisk,
		FlushEnd:       e.flushEnd,
		LowDiskSpace: func(i pebble.LowDiskSpaceInfo) {
			e.log.Warn("disk space low", zap.Stringer("detail", i))
		},
		WriteStallBegin: e.stallBegin,
		WriteStallEnd:   e.stallEnd,
	}
}

func (e *engineEvents) backgroundError(err error) {
	e.failures.Add(1)
	e.log.Error("storage engine background work failed", zap.Error(err))
	e.mu.Lock()
	failed := e.flushEnded != nil && errors.Is(err, e.flushEnded)
	e.mu.Unlock()
	if !failed {
		e.health.failed(&e.health.compaction, err)
		return
	}
	e.health.failed(&e.health.flush, err)
	select {
	case e.flushErr <- err:
	default:
	}
}

func (e *engineEvents) dataCorruption(i pebble.DataCorruptionInfo) {
	e.failures.Add(1)
	e.log.Error("corrupt data found", zap.String("path", i.Path), zap.Error(i.Details))
}

func (e *engineEvents) slowDisk(i pebble.DiskSlowInfo) {
	e.diskSlow.Add(1)
	e.health.diskSlow(i.String())
	e.log.Warn("disk is slow", zap.Stringer("detail", i))
}

// flushEnd keeps what ended a flush. It may be no failure: a flush that had nothing to write ends
// with an error of its own that is not exported.
func (e *engineEvents) flushEnd(i pebble.FlushInfo) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flushEnded = i.Err
	if i.Err == nil {
		e.health.succeeded(&e.health.flush)
	}
}

func (e *engineEvents) stallBegin(i pebble.WriteStallBeginInfo) {
	e.stalls.Add(1)
	e.stalledAt.Store(time.Now().UnixNano())
	e.health.stalled(i.Reason)
	e.log.Warn("writes stalled", zap.String("reason", i.Reason))
}

func (e *engineEvents) stallEnd() {
	if at := e.stalledAt.Swap(0); at != 0 {
		e.stallNanos.Add(time.Now().UnixNano() - at)
	}
	e.health.stalled("")
}
