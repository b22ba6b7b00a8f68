package kv

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// memoryWatch follows the memory that the Go heap and the engine hold, from its start on.
type memoryWatch struct {
	idle uint64
	peak atomic.Uint64
	stop chan struct{}
	done chan struct{}
}

func watchMemory() *memoryWatch {
	runtime.GC()
	w := &memoryWatch{idle: heapBytes(), stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			w.peak.Store(max(w.peak.Load(), heapBytes()))
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return w
}

// above ends the watch and returns the peak above the start.
func (w *memoryWatch) above() uint64 {
	close(w.stop)
	<-w.done
	return max(w.peak.Load(), w.idle) - w.idle
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type discard struct{ n int64 }

func (d *discard) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return len(p), nil
}

// benchSnapshot streams the whole namespace and watches the heap; the block cache lies outside of
// it and is bounded by its own setting.
func benchSnapshot(b *testing.B, s *benchStores) {
	for range b.N {
		watch := watchMemory()
		var out discard
		begun := time.Now()
		must(b, s.ours.View(func(tx *Tx) error { return tx.Copy(&out) }))
		took := time.Since(begun)
		b.ReportMetric(float64(watch.above())/(1<<20), "heap-MB")
		b.ReportMetric(float64(out.n)/(1<<20)/took.Seconds(), "MB/s")
	}
}
