package shardgroup

import (
	"sync"
	"testing"
	"testing/synctest"

	dto "github.com/prometheus/client_model/go"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// Of an entry with several commands each has a part.
func TestProposalMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newTestBatcher()
		var calls sync.WaitGroup
		propose := func(kind raftlogv1.Kind, payload string) {
			calls.Go(func() {
				if _, err := b.propose(t.Context(), &raftlogv1.Command{Kind: kind, Payload: []byte(payload)}, nil); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		const add, accept = raftlogv1.Kind_KIND_ADD_BLOCK, raftlogv1.Kind_KIND_ACCEPT_TRANSFERS
		for range maxEntriesInFlight {
			propose(add, "x")
		}
		propose(add, "x")
		propose(accept, "1234567890")
		propose(accept, "1234567890")
		propose(1000, "unknown")
		close(log.release)
		calls.Wait()
		b.close()
		const extra = 4 // of kind and payload, each with a tag
		for kind, want := range map[raftlogv1.Kind]struct{ commands, bytes, entries float64 }{
			add:                                   {maxEntriesInFlight + 1, (maxEntriesInFlight + 1) * (extra + 1), maxEntriesInFlight + 0.25},
			accept:                                {2, 2 * (extra + 10), 0.5},
			raftlogv1.Kind_KIND_ACK_TRANSFERS:     {},
			raftlogv1.Kind_KIND_DECIDE_COMPACTION: {},
		} {
			got := b.metrics.proposals.kinds[kind]
			value := func(metric interface{ Write(*dto.Metric) error }) float64 {
				var read dto.Metric
				if err := metric.Write(&read); err != nil {
					t.Fatal(err)
				}
				return read.GetCounter().GetValue()
			}
			if c, n, e := value(got.commands), value(got.bytes), value(got.entries); c != want.commands || n != want.bytes || e != want.entries {
				t.Errorf("%v: %v commands, %v bytes, %v entries, want %v", kind, c, n, e, want)
			}
		}
	})
}
