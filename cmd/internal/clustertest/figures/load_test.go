package figures

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// load adds blocks, one after the other by each of its callers.
type load struct {
	clients []metastorev1.IndexServiceClient
	blocks  interface {
		block(n uint64) *metastorev1.BlockMeta
	}
	next atomic.Uint64
	// Failed adds are tried again, and their time counts from the first try.
	failures failures
}

// result is what a run of a load saw.
type result struct {
	elapsed time.Duration
	adds    int
	times   []time.Duration // sorted
}

func (r result) rate() float64 { return float64(r.adds) / r.elapsed.Seconds() }

// percentile is the smallest time that at least a share of the samples does not
// exceed; 0 without samples.
func percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	at := int(share*float64(len(sorted)) + 0.999999)
	return sorted[min(max(at, 1), len(sorted))-1]
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

// failures counts what went wrong, by code.
type failures struct {
	mu     sync.Mutex
	counts map[codes.Code]int
}

func (f *failures) count(code codes.Code) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[codes.Code]int{}
	}
	f.counts[code]++
}

// take returns the counts and begins anew.
func (f *failures) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var text string
	for _, code := range slices.Sorted(maps.Keys(f.counts)) {
		text += fmt.Sprintf(" %d %v", f.counts[code], code)
	}
	f.counts = nil
	if text == "" {
		return "none"
	}
	return text[1:]
}

// addPatience bounds one add with all its tries.
const addPatience = time.Minute

func (l *load) add(ctx context.Context, client metastorev1.IndexServiceClient, n uint64) error {
	request := &metastorev1.AddBlockRequest{Block: l.blocks.block(n)}
	limited, cancel := context.WithTimeout(ctx, addPatience)
	defer cancel()
	for {
		_, err := client.AddBlock(limited, request)
		if err == nil {
			return nil
		}
		code := status.Code(err)
		if ctx.Err() == nil {
			l.failures.count(code)
		}
		again := code == codes.Unavailable || code == codes.ResourceExhausted || code == codes.DeadlineExceeded || code == codes.Aborted
		if !again || limited.Err() != nil {
			return fmt.Errorf("block %d: %w", n, err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-limited.Done():
		}
	}
}

// try lets callers add until more says no, or an add fails for good.
func (l *load) try(ctx context.Context, callers int, more func(adds int64) bool) (result, error) {
	var (
		running sync.WaitGroup
		adds    atomic.Int64
		failed  atomic.Pointer[error]
	)
	times := make([][]time.Duration, callers)
	start := time.Now()
	for i := range callers {
		client := l.clients[i%len(l.clients)]
		running.Go(func() {
			for failed.Load() == nil && more(adds.Add(1)) {
				began := time.Now()
				if err := l.add(ctx, client, l.next.Add(1)); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	running.Wait()
	r := result{elapsed: time.Since(start), times: slices.Concat(times...)}
	r.adds = len(r.times)
	slices.Sort(r.times)
	if err := failed.Load(); err != nil {
		return r, *err
	}
	return r, nil
}

func (l *load) runFor(t *testing.T, callers int, d time.Duration) result {
	t.Helper()
	end := time.Now().Add(d)
	r, err := l.try(t.Context(), callers, func(int64) bool { return time.Now().Before(end) })
	must(t, err)
	return r
}

func (l *load) runCount(t *testing.T, callers, count int) result {
	t.Helper()
	r, err := l.try(t.Context(), callers, func(adds int64) bool { return adds <= int64(count) })
	must(t, err)
	return r
}

// goOn adds blocks until the function that it returns is called.
func (l *load) goOn(t *testing.T, callers int) (stop func()) {
	var ended atomic.Bool
	done := make(chan error, 1)
	go func() {
		_, err := l.try(t.Context(), callers, func(int64) bool { return !ended.Load() })
		done <- err
	}()
	return func() {
		ended.Store(true)
		must(t, <-done)
	}
}

func TestPercentiles(t *testing.T) {
	var sorted []time.Duration
	for i := range 200 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 100, 0.95: 190, 0.99: 198, 0.999: 200, 1: 200} {
		if got := percentile(sorted, share); got != want {
			t.Errorf("%v: %d, want %d", share, got, want)
		}
	}
	if percentile(nil, 0.5) != 0 || percentile(sorted[:1], 0.5) != 1 {
		t.Error("few samples")
	}
}
