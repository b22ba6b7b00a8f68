// Package overrides follows a runtime overrides file, in Pyroscope's format, and
// tells what it says about retention and adaptive placement:
//
//	overrides:
//	  tenant-a:
//	    retention_period: 7d     # Prometheus durations; 0 keeps for ever
//	    adaptive_placement_max_dataset_shards: 64
//
// Everything else in the file is for others. The file is read again and again. One
// that is missing or wrong changes nothing: what it said when it was last right
// stays. As long as it never was, there is no answer: deleting data by a default
// would delete that of tenants who keep it longer.
package overrides

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/planner/adaptive"
)

// Interval is the time between two looks at the file.
const Interval = 10 * time.Second

// Some hundred thousand tenants.
const maxBytes = 32 << 20

// ErrUnknown means that the file was never read with success.
var ErrUnknown = errors.New("the overrides file was not read with success yet")

// File is an overrides file that is followed. All methods may be called
// concurrently.
type File struct {
	path       string
	log        *zap.Logger
	registerer prometheus.Registerer

	successful, successAt prometheus.Gauge

	mu sync.Mutex
	// Content and fault of the last attempt; the fault may be of reading.
	seen   []byte
	failed error
	// What the file said when it was last right; nil if it never was.
	said *Overrides
}

// Overrides are what a file says, by tenant. They are not changed any more.
type Overrides struct {
	// Retention periods, 0 for ever, of tenants that have one of their own.
	Periods map[string]time.Duration
	// Limits of adaptive placement, of tenants that have some of their own.
	Placement map[string]adaptive.Override
}

// Open reads a file for the first time. A fault is logged, and not for ever: see
// Periods. Close gives the metrics back.
func Open(path string, log *zap.Logger, registerer prometheus.Registerer) (*File, error) {
	f := &File{
		path: path, log: log.With(zap.String("file", path)), registerer: registerer,
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_overrides_last_reload_successful", Help: "1 if the overrides file was right when it was last read.",
		}),
		successAt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_overrides_last_reload_success_timestamp_seconds", Help: "When the overrides file was last read with success; 0 for never.",
		}),
	}
	for i, collector := range f.collectors() {
		if err := registerer.Register(collector); err != nil {
			for _, own := range f.collectors()[:i] {
				registerer.Unregister(own)
			}
			return nil, err
		}
	}
	f.Reload()
	return f, nil
}

func (f *File) collectors() []prometheus.Collector {
	return []prometheus.Collector{f.successful, f.successAt}
}

// Close unregisters the metrics.
func (f *File) Close() {
	for _, collector := range f.collectors() {
		f.registerer.Unregister(collector)
	}
}

// Run reads the file each time that a tick comes, until the context ends.
func (f *File) Run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
			f.Reload()
		}
	}
}

// Periods returns the retention periods of tenants that have one of their own, 0
// for ever. It fails with ErrUnknown if the file was never right. The map is not
// changed any more.
func (f *File) Periods() (map[string]time.Duration, error) {
	said, err := f.overrides()
	if err != nil {
		return nil, fmt.Errorf("%w: nothing is removed until it is", err)
	}
	return said.Periods, nil
}

// Placement returns the limits of adaptive placement of tenants that have some of
// their own, as Periods does.
func (f *File) Placement() (map[string]adaptive.Override, error) {
	said, err := f.overrides()
	if err != nil {
		return nil, fmt.Errorf("%w: no placement rules are made until it is", err)
	}
	return said.Placement, nil
}

func (f *File) overrides() (*Overrides, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.said == nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, f.failed)
	}
	return f.said, nil
}

// Reload reads the file now.
func (f *File) Reload() {
	content, err := read(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.seen != nil && bytes.Equal(content, f.seen) {
		err = f.failed // the same as last time, right or wrong
	} else {
		var said *Overrides
		if err == nil {
			said, err = Parse(content)
		}
		f.tell(said, err)
	}
	if f.seen, f.failed = content, err; err != nil {
		f.successful.Set(0)
		return
	}
	f.successful.Set(1)
	f.successAt.SetToCurrentTime()
}

// tell logs and keeps what a new content says.
func (f *File) tell(said *Overrides, err error) {
	switch {
	case err == nil && f.said != nil && f.failed == nil && reflect.DeepEqual(said, f.said):
	case err == nil:
		f.said = said
		f.log.Info("read the overrides", zap.Int("retention_periods", len(said.Periods)), zap.Int("placement_limits", len(said.Placement)))
	case f.failed != nil && f.failed.Error() == err.Error():
		// Said before.
	case f.said == nil:
		f.log.Error("the overrides cannot be used: nothing is removed by retention until the file is right", zap.Error(err))
	default:
		f.log.Error("the overrides cannot be used: going on with those read before; correct the file", zap.Error(err))
	}
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err == nil && len(content) > maxBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxBytes)
	}
	if content == nil {
		content = []byte{}
	}
	return content, err
}
