package raftlog

import (
	"fmt"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// formatMajorVersion is pinned: a newer library must not raise it by itself.
const formatMajorVersion = pebble.FormatValueSeparation

// Entries are written once, read by followers that lag, and removed a few thousand
// entries later.
func pebbleOptions(fs vfs.FS, events *events) *pebble.Options {
	o := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: formatMajorVersion,
		Logger:             events,
		EventListener: &pebble.EventListener{
			BackgroundError: events.background,
			WriteStallBegin: func(pebble.WriteStallBeginInfo) { events.metrics.stalls.Inc() },
		},
		CacheSize:                   8 << 20,
		MaxOpenFiles:                256,
		MemTableSize:                16 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               64 << 20,
		// Tables that are written out must not make the log's syncs wait behind them.
		BytesPerSync: 512 << 10,
		CompactionConcurrencyRange: func() (int, int) {
			return 1, max(1, min(2, runtime.GOMAXPROCS(0)/2))
		},
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return o
}

// events is what the store below tells.
type events struct {
	log     *zap.Logger
	metrics *metrics
}

// Infof drops the message: it tells of ordinary work only.
func (events) Infof(string, ...any) {}

// Errorf logs at level error.
func (e events) Errorf(format string, args ...any) {
	e.log.Error("Raft log store", zap.String("message", fmt.Sprintf(format, args...)))
}

// Fatalf panics: the store calls it when it can neither complete a write nor undo it,
// and takes a return for success.
func (e events) Fatalf(format string, args ...any) {
	panic("the Raft log cannot be written: " + fmt.Sprintf(format, args...))
}

func (e events) background(err error) {
	e.log.Error("background work of the Raft log failed", zap.Error(err))
}
