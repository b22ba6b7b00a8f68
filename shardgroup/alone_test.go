package shardgroup_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/shardgroup/transport"
)

// A cluster of one node serves without waiting for elections, here of 15 s at least:
// when it is new, and when it starts again with a log to replay.
func TestAloneDoesNotWaitForElections(t *testing.T) {
	dir := t.TempDir()
	for start := range uint64(3) {
		log := zaptest.NewLogger(t)
		factory, err := transport.NewFactory(transport.Options{}, log, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second)
		defer cancel()
		node, err := openReady(ctx, shardgroup.Options{
			DataDir: dir, RaftAddress: freeAddress(t), Found: true, Groups: 2, RTT: 1250 * time.Millisecond, Transport: factory,
			CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
		}, log, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		m := rangeMap(t, node)
		for i := range 20 * (start + 1) {
			if known := i < 20*start; add(t, node, m, historyBlock(i)) == known {
				t.Errorf("start %d, block %d: known %t", start, i, !known)
			}
		}
		closeNode(t, node)
	}
}
