package shardgroup_test

import (
	"context"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// recorded is a node whose rounds of records are short.
type recorded struct {
	t     *testing.T
	dir   string
	every int64
	node  *shardgroup.Node
	m     *clusterv1.Map
	block *metastorev1.BlockMeta
	// Of the blocks that it adds.
	group uint64
}

func newRecorded(t *testing.T, every int64) *recorded {
	r := &recorded{t: t, dir: t.TempDir(), every: every, block: segments(t)[0]}
	r.open()
	t.Cleanup(func() { closeNode(t, r.node) })
	r.group = r.add()
	return r
}

func (r *recorded) open() {
	r.t.Helper()
	options := shardgroup.Options{
		DataDir: r.dir, RaftAddress: freeAddress(r.t), Found: true, Groups: 2, RTT: 5 * time.Millisecond,
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
	}
	options.RecordEvery(r.every)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var err error
	if r.node, err = openReady(ctx, options, zaptest.NewLogger(r.t), prometheus.NewRegistry()); err != nil {
		r.t.Fatal(err)
	}
	r.m = rangeMap(r.t, r.node)
}

// add adds a block, and returns its group.
func (r *recorded) add() uint64 {
	r.t.Helper()
	id := ulid.MustParse(r.block.GetId())
	if err := id.SetTime(id.Time() + 1); err != nil {
		r.t.Fatal(err)
	}
	r.block.Id = id.String()
	request := addRequest(r.t, r.m, r.block)
	if _, err := r.node.Service().AddBlock(r.t.Context(), request); err != nil {
		r.t.Fatal(err)
	}
	return request.GetGroupId()
}

// The log's part that a start reads, and the part behind it that it keeps for others, are
// bounded by bytes.
func TestRecordsAreMadeInRounds(t *testing.T) {
	const every, rounds = 64 << 10, 12
	r := newRecorded(t, every)
	var records []uint64
	for at, _, _ := r.node.Log(r.group); len(records) < rounds; {
		before := r.node.AppliedBytes(r.group)
		for record := at; record == at; record, _, _ = r.node.Log(r.group) {
			r.add()
			if bytes := r.node.AppliedBytes(r.group) - before; bytes > 64*every {
				t.Fatalf("%.0f bytes were applied since the last record, want one after %d", bytes, every)
			}
		}
		at, _, _ = r.node.Log(r.group)
		records = append(records, at)
	}
	await(t, "old entries to go", func() bool {
		_, first, _ := r.node.Log(r.group)
		return first > records[rounds-7]
	})
	if _, first, _ := r.node.Log(r.group); first > records[rounds-4]+1 {
		t.Errorf("the log begins at %d, with records at %d: want the last 4 rounds", first, records)
	}
}

// A round that fails is made up for by the next one.
func TestFailedRoundIsRepeated(t *testing.T) {
	const every = 64 << 20
	r := newRecorded(t, every)
	for r.node.AppliedBytes(r.group) < every/64+1 {
		r.add()
	}
	failed, cancel := context.WithCancel(t.Context())
	cancel()
	before, _, last := r.node.Log(r.group)
	r.node.RecordRound(failed)
	if record, _, _ := r.node.Log(r.group); record != before {
		t.Fatalf("a record at %d in a round that was cancelled", record)
	}
	r.node.RecordRound(t.Context())
	record, _, _ := r.node.Log(r.group)
	if record < last {
		t.Errorf("the record is at %d, want it at the last entry, %d", record, last)
	}
	r.add()
	r.node.RecordRound(t.Context())
	if again, _, _ := r.node.Log(r.group); again != record {
		t.Errorf("a record at %d after a block, want none for so little", again)
	}
}

// A start after a stop reads nothing that was applied.
func TestStopRecordsWhatWasApplied(t *testing.T) {
	const every = 64 << 20 // more than is added
	r := newRecorded(t, every)
	for r.node.AppliedBytes(r.group) < every/64+1 {
		r.add()
	}
	before, _, last := r.node.Log(r.group)
	if before >= last {
		t.Fatalf("a record at %d before the stop", before)
	}
	closeNode(t, r.node)
	r.open()
	if record, _, _ := r.node.Log(r.group); record < last {
		t.Errorf("the record is at %d after a stop, want it at the last entry before, %d", record, last)
	}
	wantBlocks(t, r.node, r.m, []*metastorev1.BlockMeta{r.block})
}
