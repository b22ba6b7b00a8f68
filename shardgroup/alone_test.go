package shardgroup_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
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

// A node says that it is alive as soon as the cluster knows of its start, not at the
// next regular report, here in an hour.
func TestAliveFromTheStart(t *testing.T) {
	node, err := shardgroup.Open(t.Context(), shardgroup.Options{
		DataDir: t.TempDir(), RaftAddress: freeAddress(t), Found: true, Groups: 1, RTT: 5 * time.Millisecond, HeartbeatInterval: time.Hour,
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
	}, zaptest.NewLogger(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNode(t, node) })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		state, err := node.Service().ClusterState(t.Context(), &nodev1.ClusterStateRequest{})
		if err == nil && len(state.GetNodes()) == 1 && state.GetNodes()[0].GetAlive() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v, %v", state, err)
		}
	}
}
