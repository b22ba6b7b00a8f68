package objects

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Names of operations in metrics.
const (
	operationGet         = "get"
	operationGetRange    = "get_range"
	operationPut         = "put"
	operationPutIfAbsent = "put_if_absent"
	operationDelete      = "delete"
	operationList        = "list"
	operationAttributes  = "attributes"
	operationCheck       = "check"
)

var operations = []string{
	operationGet, operationGetRange, operationPut, operationPutIfAbsent, operationDelete, operationList, operationAttributes, operationCheck,
}

// metered counts what is done with a bucket.
type metered struct {
	inner      Bucket
	operations *prometheus.CounterVec
	failures   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	read       prometheus.Counter
	written    prometheus.Counter
	listed     prometheus.Counter
}

// Metered returns a bucket that counts and times operations. What the bucket
// answers about objects that exist or do not is no failure, nor is what a caller
// who went away will not hear.
func Metered(bucket Bucket, metrics prometheus.Registerer) (Bucket, error) {
	labels := []string{"operation"}
	m := &metered{
		inner: bucket,
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_objects_operations_total", Help: "Operations on the object store, by operation.",
		}, labels),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_objects_operation_failures_total", Help: "Operations on the object store that failed; objects that exist or do not are no failure.",
		}, labels),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_objects_operation_duration_seconds", Help: "How long operations on the object store took, attempts and waits included; lists without what is done with their entries.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, labels),
		read:    prometheus.NewCounter(prometheus.CounterOpts{Name: "skerry_objects_read_bytes_total", Help: "Bytes of objects read from the object store."}),
		written: prometheus.NewCounter(prometheus.CounterOpts{Name: "skerry_objects_written_bytes_total", Help: "Bytes of objects written to the object store."}),
		listed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "skerry_objects_listed_entries_total", Help: "Entries that lists of the object store yielded."}),
	}
	for _, operation := range operations {
		m.operations.WithLabelValues(operation)
		m.failures.WithLabelValues(operation)
	}
	for _, collector := range []prometheus.Collector{m.operations, m.failures, m.durations, m.read, m.written, m.listed} {
		if err := metrics.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metered) count(operation string, took time.Duration, err error) {
	m.operations.WithLabelValues(operation).Inc()
	m.durations.WithLabelValues(operation).Observe(took.Seconds())
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExists) && !errors.Is(err, context.Canceled) {
		m.failures.WithLabelValues(operation).Inc()
	}
}

func (m *metered) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	started := time.Now()
	content, err := m.inner.Get(ctx, name, limit)
	m.count(operationGet, time.Since(started), err)
	m.read.Add(float64(len(content)))
	return content, err
}

func (m *metered) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, int64, error) {
	started := time.Now()
	content, size, err := m.inner.GetRange(ctx, name, offset, length)
	m.count(operationGetRange, time.Since(started), err)
	m.read.Add(float64(len(content)))
	return content, size, err
}

func (m *metered) Put(ctx context.Context, name string, content []byte) error {
	started := time.Now()
	err := m.inner.Put(ctx, name, content)
	m.count(operationPut, time.Since(started), err)
	if err == nil {
		m.written.Add(float64(len(content)))
	}
	return err
}

func (m *metered) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	started := time.Now()
	err := m.inner.PutIfAbsent(ctx, name, content)
	m.count(operationPutIfAbsent, time.Since(started), err)
	if err == nil {
		m.written.Add(float64(len(content)))
	}
	return err
}

func (m *metered) Delete(ctx context.Context, name string) error {
	started := time.Now()
	err := m.inner.Delete(ctx, name)
	m.count(operationDelete, time.Since(started), err)
	return err
}

func (m *metered) Attributes(ctx context.Context, name string) (Attributes, error) {
	started := time.Now()
	attributes, err := m.inner.Attributes(ctx, name)
	m.count(operationAttributes, time.Since(started), err)
	return attributes, err
}

func (m *metered) List(ctx context.Context, options ListOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var took time.Duration
		var failure error
		defer func() { m.count(operationList, took, failure) }()
		started := time.Now()
		for entry, err := range m.inner.List(ctx, options) {
			took += time.Since(started)
			if failure = err; err == nil {
				m.listed.Inc()
			}
			if !yield(entry, err) {
				return
			}
			started = time.Now()
		}
		took += time.Since(started)
	}
}

func (m *metered) Check(ctx context.Context) error {
	started := time.Now()
	err := m.inner.Check(ctx)
	m.count(operationCheck, time.Since(started), err)
	return err
}

func (m *metered) String() string { return m.inner.String() }
