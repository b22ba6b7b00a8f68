package statemachine_test

import (
	"slices"
	"testing"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// deletionShards is how many shards of the index one command deletes.
const deletionShards = 500

func transferOf(number uint64, blocks ...*metastorev1.BlockMeta) *raftlogv1.OutgoingTransfer {
	return &raftlogv1.OutgoingTransfer{Stream: 1, Incarnation: 1, Tenant: "acme", Previous: number - 1, Number: number, Blocks: blocks}
}

// What must not come back is not filed, and its objects go; the transfer counts
// as accepted all the same.
func TestAcceptedTooLate(t *testing.T) {
	b := claimed(t)
	epoch, _ := b.leadership()
	gone, left := inPartition(10, 1, "acme", 1), inPartition(20, 2, "acme", 1)
	want(t, b.accept(transferOf(1, gone, left)), "[1]")
	shards := listed(t, b)
	want(t, b.retain(epoch, expired(shards[0])).Blocks, 1)
	late, before, after := inPartition(10, 3, "acme", 1), inPartition(9, 4, "acme", 2), inPartition(11, 5, "acme", 1)
	want(t, b.accept(transferOf(2, late, before, after)), "[2]")
	want(t, found(t, b, "acme"), []string{after.Id, left.Id})
	want(t, len(lines(stored(t, b), "tombstone late")), 2) // each is of one level
	want(t, b.status().Blocks, 2)

	// A block that was compacted meanwhile: its data is in another one.
	b.completeJob(b.startJob([]*metastorev1.BlockMeta{left}), []*metastorev1.BlockMeta{inPartition(20, 6, "acme", 2)})
	want(t, b.accept(transferOf(3, left)), "[3]")
	if slices.Contains(found(t, b, "acme"), left.Id) {
		t.Error("a compacted block came back")
	}

	b.deleteTenant("acme", 30*partitionMillis)
	old, fresh, known := inPartition(29, 7, "acme", 1), inPartition(31, 8, "acme", 1), inPartition(29, 9, "acme", 1)
	want(t, b.accept(transferOf(4, old, fresh)), "[4]")
	want(t, found(t, b, "acme"), []string{fresh.Id})
	aware := transferOf(5, known)
	aware.DeletedUntil = 30 * partitionMillis
	want(t, b.accept(aware), "[5]")
	want(t, found(t, b, "acme"), []string{known.Id, fresh.Id})
	earlier := transferOf(6, inPartition(29, 10, "acme", 1))
	earlier.DeletedUntil = 30*partitionMillis - 1
	want(t, b.accept(earlier), "[6]")
	want(t, found(t, b, "acme"), []string{known.Id, fresh.Id})
	b.check()
}

// A tombstone that is carried out hides its partition no longer.
func TestBuriedPartitionsEnd(t *testing.T) {
	b := claimed(t)
	epoch, _ := b.leadership()
	want(t, b.accept(transferOf(1, inPartition(10, 1, "acme", 1))), "[1]")
	b.retain(epoch, expired(listed(t, b)[0]))
	var name string
	b.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		return v.Tombstones.All(func(t *raftlogv1.Tombstone) bool { name = t.Name; return true })
	}})
	source := inPartition(20, 2, "acme", 1)
	want(t, b.accept(transferOf(2, source)), "[2]")
	_, token := b.leadership()
	job := &raftlogv1.CompactionJob{Name: "job", Tenant: "acme", Shard: 1, Level: 1, Sources: []string{source.Id}, Tombstones: []string{name}}
	b.decide(&raftlogv1.CompactionDecision{LeaderEpoch: epoch, LastToken: token, Create: []*raftlogv1.CompactionJob{job}}, raftlogv1.Result_STATUS_OK)
	lease := &raftlogv1.JobLease{Job: &raftlogv1.JobRef{Name: "job", Revision: b.applied}, Token: token + 1, ExpiresAt: 99}
	b.decide(&raftlogv1.CompactionDecision{LeaderEpoch: epoch, LastToken: token, Assign: []*raftlogv1.JobLease{lease}}, raftlogv1.Result_STATUS_OK)
	b.completeJob(&raftlogv1.JobCompletion{Job: &raftlogv1.JobRef{Name: "job", Revision: b.applied}, Token: token + 1, Sources: job.Sources},
		[]*metastorev1.BlockMeta{inPartition(20, 3, "acme", 2)})
	again := inPartition(10, 4, "acme", 1)
	want(t, b.accept(transferOf(3, again)), "[3]")
	if !slices.Contains(found(t, b, "acme"), again.Id) {
		t.Error("a block was refused for a tombstone that was carried out")
	}
	b.check()
}

// A stream that was rewound begins anew: its numbers are compared within its life.
func TestAcceptedIncarnations(t *testing.T) {
	b := claimed(t)
	send := func(incarnation, previous, number uint64) uint64 {
		transfer := transferOf(number)
		transfer.Incarnation, transfer.Previous = incarnation, previous
		return b.accept(transfer)[0]
	}
	want(t, send(1, 0, 7), 7)
	want(t, send(2, 3, 4), 7) // what comes before it must come first
	want(t, send(2, 0, 3), 3)
	want(t, send(1, 7, 9), 3) // of the former life
	want(t, send(2, 3, 4), 4)
	want(t, b.seen("acme"), "1<acme:2.4 ")
}

// Each of these is refused and changes nothing, and no garbage stops a replica.
func TestMalformedTransfers(t *testing.T) {
	b := claimed(t)
	good := func() *raftlogv1.OutgoingTransfer { return transferOf(1, inPartition(10, 1, "acme", 1)) }
	for name, spoil := range map[string]func(*raftlogv1.OutgoingTransfer){
		"no tenant":            func(t *raftlogv1.OutgoingTransfer) { t.Tenant, t.Blocks = "", nil },
		"a long tenant":        func(t *raftlogv1.OutgoingTransfer) { t.Tenant, t.Blocks = string(make([]byte, 1<<16)), nil },
		"no incarnation":       func(t *raftlogv1.OutgoingTransfer) { t.Incarnation = 0 },
		"no number":            func(t *raftlogv1.OutgoingTransfer) { t.Number = 0 },
		"itself before it":     func(t *raftlogv1.OutgoingTransfer) { t.Previous = t.Number },
		"another stream":       func(t *raftlogv1.OutgoingTransfer) { t.Stream = 2 },
		"another's block":      func(t *raftlogv1.OutgoingTransfer) { t.Blocks[0].Tenant = 0 },
		"a block without id":   func(t *raftlogv1.OutgoingTransfer) { t.Blocks[0].Id = "x" },
		"one of two malformed": func(t *raftlogv1.OutgoingTransfer) { t.Blocks = append(t.Blocks, &metastorev1.BlockMeta{}) },
	} {
		transfer := good()
		spoil(transfer)
		result := b.apply(acceptCommand(good(), transfer))
		if result.GetStatus() != raftlogv1.Result_STATUS_INVALID {
			t.Errorf("%s: %v", name, result)
		}
	}
	for name, c := range map[string]*raftlogv1.Command{
		"no range":            {Kind: raftlogv1.Kind_KIND_ACCEPT_TRANSFERS, Payload: acceptCommand(good()).Payload},
		"streams":             {Kind: raftlogv1.Kind_KIND_ACCEPT_TRANSFERS, Payload: acceptCommand(good()).Payload, Range: wholeSpans()[1]},
		"ack: tenants":        {Kind: raftlogv1.Kind_KIND_ACK_TRANSFERS, Payload: ackCommand(ackOf(good())).Payload, Range: wholeSpans()[0]},
		"ack: another stream": {Kind: raftlogv1.Kind_KIND_ACK_TRANSFERS, Payload: ackCommand(ackOf(good())).Payload, Range: pointRef("", 2)},
		"ack: no tenant":      ackCommand(&raftlogv1.TransferAck{Stream: 1, Incarnation: 1, Number: 1}),
		"ack: no number":      ackCommand(&raftlogv1.TransferAck{Stream: 1, Incarnation: 1, Tenant: "acme"}),
		"ack: a long tenant":  ackCommand(&raftlogv1.TransferAck{Stream: 1, Incarnation: 1, Tenant: string(make([]byte, 1<<16)), Number: 1}),
	} {
		if result := b.apply(c); result.GetStatus() != raftlogv1.Result_STATUS_INVALID {
			t.Errorf("%s: %v", name, result)
		}
	}
	wantStatus(t, b.apply(ackCommand(ackOf(good()))), raftlogv1.Result_STATUS_CONFLICT)
	want(t, b.seen("acme"), "")
	want(t, b.status().Blocks, 0)
	want(t, stored(t, b), stored(t, claimed(t)))
	stale := acceptCommand(good())
	stale.Range = &clusterv1.RangeRef{Keyspace: tenants, Epoch: 9}
	wantStatus(t, b.apply(stale), raftlogv1.Result_STATUS_ROUTE)
}

func FuzzTransfers(f *testing.F) {
	block := inPartition(10, 1, "acme", 1)
	f.Add(true, acceptCommand(transferOf(1, block)).Payload)
	f.Add(true, acceptCommand(transferOf(3), transferOf(1, block, block)).Payload)
	f.Add(false, ackCommand(ackOf(transferOf(1))).Payload)
	f.Add(false, []byte("no acks"))
	f.Fuzz(func(t *testing.T, accept bool, payload []byte) {
		r, m := claimed(t), newTables()
		r.finishJob([]*metastorev1.BlockMeta{m.fresh("", 0)}, []*metastorev1.BlockMeta{m.fresh("acme", 1)})
		c := &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_ACK_TRANSFERS, Payload: payload, Range: wholeSpans()[1]}
		if accept {
			c.Kind, c.Range = raftlogv1.Kind_KIND_ACCEPT_TRANSFERS, wholeSpans()[0]
		}
		for range 2 {
			if status := r.apply(c).GetStatus(); status == raftlogv1.Result_STATUS_UNSPECIFIED || status == raftlogv1.Result_STATUS_ROUTE {
				t.Errorf("status %s", status)
			}
			r.check()
		}
	})
}

// Watermarks are of the spans that are asked for, wherever ranges are cut.
func TestWatermarksOfSpans(t *testing.T) {
	r, m := claimed(t), newTables()
	for stream := uint32(1); stream <= 3; stream++ {
		segment, block := m.fresh("", 0), m.fresh("acme", 1)
		segment.Shard, block.Shard = stream, stream
		r.finishJob([]*metastorev1.BlockMeta{segment}, []*metastorev1.BlockMeta{block})
	}
	r.accept(r.outgoing()...)
	before := r.outgoing()
	marks := func(refs ...*clusterv1.RangeRef) *nodev1.Watermarks {
		return r.lookup(statemachine.TenantStats{Context: t.Context(), Ranges: refs, Tenant: "acme"}).(*nodev1.TenantStatsResponse).Watermarks
	}
	labels := r.lookup(statemachine.QueryLabels((request{[]string{"acme", "other"}, 0, 9000, `{}`, []string{"svc"}}).parsed(t))).(*nodev1.QueryLabelsResponse)
	want(t, []int{len(labels.Watermarks.Issued), len(labels.Watermarks.Accepted)}, "[3 3]")
	want(t, len(r.lookup(statemachine.QueryBlocks((request{[]string{"other"}, 0, 9000, `{}`, nil}).parsed(t))).(*nodev1.QueryBlocksResponse).Watermarks.Issued), 0)
	for i, keyspace := range []clusterv1.Keyspace{tenants, streams} {
		point := func(stream uint32) uint64 { return clusterv1.TenantPoint("acme", stream) }
		if keyspace == streams {
			point = clusterv1.StreamPoint
		}
		points := []uint64{point(1), point(2), point(3)}
		slices.Sort(points)
		row := &clusterv1.Range{RangeId: uint64(i + 1), Keyspace: keyspace, GroupId: group, Epoch: 1}
		parts := cut(row, uint64(10*(i+1)), points[1], points[2])
		wantStatus(t, r.apply(replace([]*clusterv1.Range{row}, parts)), raftlogv1.Result_STATUS_OK)
		for _, part := range parts {
			got := marks(refOf(part))
			streams := []uint32{}
			for _, mark := range got.Issued {
				streams = append(streams, mark.Stream)
			}
			for _, mark := range got.Accepted {
				streams = append(streams, mark.Stream)
			}
			if len(streams) != 1 || !part.Contains(point(streams[0])) {
				t.Errorf("%v: %v", part, got)
			}
		}
	}
	want(t, r.outgoing(), before)
	wantStatus(t, r.apply(acceptCommand(before...)), raftlogv1.Result_STATUS_ROUTE)
	for _, transfer := range before { // known, whatever became of the ranges
		c := acceptCommand(transfer)
		c.Range = pointRef("acme", transfer.Stream)
		c.Range.Epoch = 2
		want(t, acceptedIn(t, r.apply(c)), []uint64{transfer.Number})
	}
	want(t, r.status().Blocks, 6)
	r.check()
}

// A deletion takes what is old enough out of the transfers that wait, and no more:
// the rest is sent, and the chain does not break.
func TestDeletionOfWaitingBlocks(t *testing.T) {
	a, b := claimed(t), claimed(t)
	old, older, fresh := inPartition(20, 1, "acme", 1), inPartition(10, 2, "acme", 1), inPartition(20, 9, "acme", 1)
	a.finishJob([]*metastorev1.BlockMeta{inPartition(30, 3, "", 0)}, []*metastorev1.BlockMeta{older})
	a.finishJob([]*metastorev1.BlockMeta{inPartition(30, 4, "", 0)}, []*metastorev1.BlockMeta{old, fresh})
	sent := a.outgoing()
	for _, r := range []*replica{a, b} {
		r.deleteTenant("acme", 20*partitionMillis+5)
		r.check()
	}
	want(t, []int{len(a.outgoing()[0].Blocks), len(a.outgoing()[1].Blocks)}, "[0 1]")
	want(t, b.accept(sent[0]), "[1]") // sent before the deletion
	want(t, b.accept(a.outgoing()...), "[1 2]")
	want(t, found(t, b, "acme"), []string{fresh.Id})
	want(t, len(lines(stored(t, a), "tombstone deleted")), 2)
	wantStatus(t, a.apply(ackCommand(ackOf(sent[0]), ackOf(sent[1]))), raftlogv1.Result_STATUS_OK)
	want(t, a.status().Blocks, 0)
	a.check()
	b.check()
}

// A deletion that is repeated, say since its answer was lost, spares what a job made
// that knew of it: the block's id is older than what it holds.
func TestRepeatedDeletionSparesYoungerTransfers(t *testing.T) {
	const until = 20*partitionMillis + 5
	a, b := claimed(t), claimed(t)
	older, younger := inPartition(20, 1, "", 0), inPartition(20, 9, "", 0)
	result := inPartition(20, 1, "acme", 1)
	wantStatus(t, a.apply(addCommand(older)), raftlogv1.Result_STATUS_OK)
	a.deleteTenant("acme", until)
	wantStatus(t, a.apply(addCommand(younger)), raftlogv1.Result_STATUS_OK)
	a.completeJob(a.startJob([]*metastorev1.BlockMeta{older, younger}), []*metastorev1.BlockMeta{result})
	a.deleteTenant("acme", until)
	want(t, found(t, a, "acme"), []string{result.Id})
	want(t, len(a.outgoing()[0].Blocks), 1)
	b.deleteTenant("acme", until)
	want(t, b.accept(a.outgoing()...), "[1]")
	want(t, found(t, b, "acme"), []string{result.Id})
	a.check()
	b.check()
	// A later one takes it.
	a.deleteTenant("acme", until+10)
	want(t, len(found(t, a, "acme")), 0)
	a.check()
}

// A deletion that the stream knew before the tenant's group did: what the transfer
// brings is younger, and stays when the deletion comes, comes again, and after it was
// compacted. What is older goes with the transfer. (The id of a block is that of its
// first source.)
func TestDelayedDeletionSparesYoungerTransfers(t *testing.T) {
	const until = 20*partitionMillis + 5
	b := claimed(t)
	older, late := inPartition(19, 1, "acme", 1), inPartition(19, 2, "acme", 1)
	want(t, b.accept(transferOf(1, older)), "[1]")
	others := transferOf(1, inPartition(19, 3, "acme", 1))
	others.Stream, others.Blocks[0].Shard = 2, 2
	c := acceptCommand(others)
	c.Range = pointRef("acme", 2)
	wantStatus(t, b.apply(c), raftlogv1.Result_STATUS_OK)
	younger := inPartition(20, 4, "acme", 1)
	aware := transferOf(2, younger)
	aware.DeletedUntil = until
	want(t, b.accept(aware), "[2]")
	want(t, found(t, b, "acme"), []string{younger.Id, others.Blocks[0].Id})
	want(t, b.accept(transferOf(3, late)), "[3]") // sent before
	wantStatus(t, b.apply(addCommand(inPartition(19, 5, "acme", 1))), raftlogv1.Result_STATUS_ALREADY)
	b.deleteTenant("acme", until-1) // another one before it
	b.deleteTenant("acme", until)
	want(t, found(t, b, "acme"), []string{younger.Id})
	compacted := inPartition(20, 3, "acme", 2)
	b.completeJob(b.startJob([]*metastorev1.BlockMeta{younger}), []*metastorev1.BlockMeta{compacted})
	b.deleteTenant("acme", until)
	want(t, found(t, b, "acme"), []string{compacted.Id})
	b.check()
	b.deleteTenant("acme", until+1)
	want(t, len(found(t, b, "acme")), 0)
	b.check()
}

// A transfer that comes before a deletion of many shards waits until all are gone: each
// attempt is short.
func TestDelayedDeletionInParts(t *testing.T) {
	const until = 5000 * partitionMillis
	b := claimed(t)
	for n := range deletionShards + 100 {
		b.apply(addCommand(inPartition(10+n, 1, "acme", 1)))
	}
	younger := inPartition(20, 9, "acme", 1)
	first, second := transferOf(1, younger), transferOf(2)
	first.DeletedUntil, second.DeletedUntil = until, until
	want(t, b.accept(first, second), "[0 0]")
	want(t, b.status().Blocks, 100)
	want(t, b.accept(first, second), "[1 2]")
	b.deleteTenant("acme", until)
	want(t, found(t, b, "acme"), []string{younger.Id})
	b.check()
}

// Two deletions in one command leave tombstones of their own.
func TestDelayedDeletionsInOneCommand(t *testing.T) {
	b := claimed(t)
	want(t, b.accept(transferOf(1, inPartition(10, 1, "acme", 1), inPartition(20, 2, "acme", 1))), "[1]")
	first, second := transferOf(2), transferOf(3)
	first.DeletedUntil, second.DeletedUntil = 15*partitionMillis, 25*partitionMillis
	want(t, b.accept(first, second), "[2 3]")
	want(t, b.status().Blocks, 0)
	want(t, len(lines(stored(t, b), "tombstone deleted")), 2)
	b.check()
}

// However long ago a partition ended, a deletion takes its blocks and not what comes into
// it: a job that knew of the deletion may begin with a segment of that time.
func TestDeletionOfOldPartitionsTakesBlocksOnly(t *testing.T) {
	const until = 20*partitionMillis + 5
	b := claimed(t)
	older, younger := inPartition(20, 1, "acme", 1), inPartition(20, 2, "acme", 1)
	want(t, b.accept(transferOf(1, older)), "[1]")
	b.applyEntry(&raftlogv1.Entry{ProposedAt: 40 * partitionMillis * 1e6, Commands: []*raftlogv1.Command{claim("n", 99)}})
	b.deleteTenant("acme", until)
	aware := transferOf(2, younger)
	aware.DeletedUntil = until
	want(t, b.accept(aware), "[2]")
	want(t, found(t, b, "acme"), []string{younger.Id})
	b.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		return v.Tombstones.All(func(tombstone *raftlogv1.Tombstone) bool {
			if !slices.Equal(tombstone.Blocks, []string{older.Id}) {
				t.Errorf("tombstone %v", tombstone)
			}
			return true
		})
	}})
	b.check()
}

// What a deletion takes from an outbox waits in no queue: that of the same tenant and
// shard, in a group that owns both, keeps its blocks.
func TestDeletionFromOutboxLeavesTheQueue(t *testing.T) {
	r := claimed(t)
	own, waits := inPartition(20, 9, "acme", 1), inPartition(20, 1, "acme", 1)
	wantStatus(t, r.apply(addCommand(own)), raftlogv1.Result_STATUS_OK)
	r.finishJob([]*metastorev1.BlockMeta{inPartition(20, 2, "", 0)}, []*metastorev1.BlockMeta{waits})
	want(t, len(lines(stored(t, r), "queued")), 1)
	r.deleteTenant("acme", 20*partitionMillis+5)
	want(t, found(t, r, "acme"), []string{own.Id})
	want(t, len(lines(stored(t, r), "queued")), 1)
	r.check()
}
