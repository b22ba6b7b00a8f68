package shardgroup

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// BenchmarkBatcher measures what a command's way into an entry, and that of its
// result back, cost beside the entry: the log answers at once.
func BenchmarkBatcher(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var entries atomic.Int64
			send := func(entry *raftlogv1.Entry) (*raftlogv1.Results, error) {
				entries.Add(1)
				results := &raftlogv1.Results{Results: make([]*raftlogv1.Result, len(entry.GetCommands()))}
				for i := range results.Results {
					results.Results[i] = &raftlogv1.Result{}
				}
				return results, nil
			}
			batcher := newBatcher(send, time.Now, newMetrics(prometheus.NewRegistry()).group(1), tracing{})
			defer batcher.close()
			command := payload(1600, 0)
			var next atomic.Int64
			var all sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				all.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, err := batcher.propose(b.Context(), command, nil); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/float64(entries.Load()), "commands/entry")
		})
	}
}
