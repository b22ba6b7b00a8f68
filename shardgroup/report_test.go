package shardgroup_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/skerrydb/skerry/shardgroup"
)

// Reports keep what they read of a replica until it changes, and no longer than it
// runs.
func TestReportsAreOfNow(t *testing.T) {
	node, err := openReady(t.Context(), shardgroup.Options{
		Found: true, DataDir: t.TempDir(), RaftAddress: freeAddress(t), Groups: 1, RTT: 5 * time.Millisecond,
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
	}, zaptest.NewLogger(t), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() }) // what was stopped behind its back may complain
	await(t, "the leader's claim", func() bool { return node.LeaderEpoch(dataGroup) > 0 })
	before := node.Describe(dataGroup)
	if before.GetError() != "" || before.GetBlocks() != 0 || before.GetLeaderReplicaId() != before.GetReplicaId() {
		t.Fatalf("at first: %v", before)
	}
	add(t, node, rangeMap(t, node), testBlock(1, "anna", 1, 1))
	if after := node.Describe(dataGroup); after.GetBlocks() != 1 || after.GetAppliedIndex() <= before.GetAppliedIndex() {
		t.Errorf("after a block was added: %v", after)
	}
	if err := node.StopByRaft(dataGroup); err != nil {
		t.Fatal(err)
	}
	await(t, "the report of an error", func() bool { return node.Describe(dataGroup).GetError() != "" })
}
