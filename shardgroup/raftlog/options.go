package raftlog

import (
	"fmt"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/skerrydb/skerry/storage/compactions"
	"github.com/skerrydb/skerry/storage/paced"
)

// formatMajorVersion is pinned: a newer library must not raise it by itself.
const formatMajorVersion = pebble.FormatValueSeparation

// Entries are written once, read by followers that lag, and removed some rounds of
// snapshot records later.
func pebbleOptions(fs *paced.FS, events *events, compactAfter time.Duration) *pebble.Options {
	o := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: formatMajorVersion,
		Logger:             events,
		EventListener: &pebble.EventListener{
			BackgroundError: events.background,
			CompactionEnd:   func(i pebble.CompactionInfo) { events.ended(i.Err) },
			FlushEnd:        func(i pebble.FlushInfo) { events.ended(i.Err) },
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
	o.Experimental.CompactionScheduler = compactions.New(compactAfter)
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return o
}

// events is what the store below tells.
type events struct {
	log     *zap.Logger
	metrics *metrics
	pace    paced.Pace
}

func newEvents(log *zap.Logger, metrics *metrics) *events {
	// What fails is tried again for ever: say so a few times a second.
	return &events{metrics: metrics, log: log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, 5, 0)
	}))}
}

// Infof drops the message: it tells of ordinary work only.
func (*events) Infof(string, ...any) {}

// Errorf logs at level error.
func (e *events) Errorf(format string, args ...any) {
	e.log.Error("Raft log store", zap.String("message", fmt.Sprintf(format, args...)))
}

// Fatalf panics: the store calls it when it can neither complete a write nor undo it,
// and takes a return for success.
func (e *events) Fatalf(format string, args ...any) {
	panic("the Raft log cannot be written: " + fmt.Sprintf(format, args...))
}

// ended takes the outcome of background work.
func (e *events) ended(err error) {
	if err == nil {
		e.pace.Succeeded()
	}
}

func (e *events) background(err error) {
	e.pace.Failed()
	e.log.Error("background work of the Raft log failed", zap.Error(err))
}
