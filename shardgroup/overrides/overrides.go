// Package overrides follows a runtime overrides file, in Pyroscope's format, and
// tells what it says about retention:
//
//	overrides:
//	  tenant-a:
//	    retention_period: 7d     # Prometheus durations; 0 keeps for ever
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
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"
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
	periods map[string]time.Duration
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
	for _, collector := range f.collectors() {
		if err := registerer.Register(collector); err != nil {
			f.Close()
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
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.periods == nil {
		return nil, fmt.Errorf("%w: %w: nothing is removed until it is", ErrUnknown, f.failed)
	}
	return f.periods, nil
}

// Reload reads the file now.
func (f *File) Reload() {
	content, err := read(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.seen != nil && bytes.Equal(content, f.seen) {
		err = f.failed // the same as last time, right or wrong
	} else {
		var periods map[string]time.Duration
		if err == nil {
			periods, err = Parse(content)
		}
		f.tell(periods, err)
	}
	if f.seen, f.failed = content, err; err != nil {
		f.successful.Set(0)
		return
	}
	f.successful.Set(1)
	f.successAt.SetToCurrentTime()
}

// tell logs and keeps what a new content says.
func (f *File) tell(periods map[string]time.Duration, err error) {
	switch {
	case err == nil && f.periods != nil && f.failed == nil && maps.Equal(periods, f.periods):
	case err == nil:
		f.periods = periods
		f.log.Info("read the overrides", zap.Int("retention_periods", len(periods)))
	case f.failed != nil && f.failed.Error() == err.Error():
		// Said before.
	case f.periods == nil:
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

// Parse returns the retention periods of a file's content by tenant.
func Parse(content []byte) (map[string]time.Duration, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		// Most likely it is being written. Taken at its word it would shorten periods.
		return nil, errors.New("the file is empty: write `overrides: {}` if no tenant has overrides")
	}
	var document map[string]yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	section, present := document["overrides"]
	if !present {
		return nil, errors.New("the file has no `overrides`: write `overrides: {}` if no tenant has any")
	}
	if section.Tag == "!!null" {
		// As in a file that is being written.
		return nil, errors.New("`overrides` is followed by nothing: write `overrides: {}` if no tenant has any")
	}
	var tenants map[string]*struct {
		Period yaml.Node `yaml:"retention_period"`
	}
	if err := section.Decode(&tenants); err != nil {
		return nil, err
	}
	periods := map[string]time.Duration{}
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		limits := tenants[tenant]
		if limits == nil {
			return nil, fmt.Errorf("tenant %.64q is followed by nothing: write {} if it has no overrides", tenant)
		}
		if limits.Period.IsZero() {
			continue
		}
		node := &limits.Period
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
			return nil, fmt.Errorf("line %d: retention_period of tenant %.64q is no duration such as 31d", node.Line, tenant)
		}
		period, err := model.ParseDuration(node.Value)
		if err != nil {
			return nil, fmt.Errorf("line %d: retention_period of tenant %.64q: %w: write a duration such as 31d, or 0 for ever", node.Line, tenant, err)
		}
		periods[tenant] = time.Duration(period)
	}
	return periods, nil
}
