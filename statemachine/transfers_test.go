package statemachine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// finishJob compacts segments of a stream to blocks of tenants.
func (r *replica) finishJob(sources, results []*metastorev1.BlockMeta) {
	r.t.Helper()
	for _, source := range sources {
		wantStatus(r.t, r.apply(addCommand(source)), raftlogv1.Result_STATUS_OK)
	}
	r.completeJob(r.startJob(sources), results)
}

// startJob runs a job up to its assignment.
func (r *replica) startJob(sources []*metastorev1.BlockMeta) *raftlogv1.JobCompletion {
	r.t.Helper()
	epoch, token := r.leadership()
	job := &raftlogv1.CompactionJob{Tenant: sources[0].TenantName(), Shard: sources[0].Shard, Level: sources[0].CompactionLevel}
	for _, source := range sources {
		job.Sources = append(job.Sources, source.Id)
	}
	job.Name = metastorev1.JobName(job.Sources, job.Tenant, job.Shard, job.Level)
	r.decide(&raftlogv1.CompactionDecision{LeaderEpoch: epoch, LastToken: token, Create: []*raftlogv1.CompactionJob{job}}, raftlogv1.Result_STATUS_OK)
	lease := &raftlogv1.JobLease{Job: &raftlogv1.JobRef{Name: job.Name, Revision: r.applied}, Token: token + 1, ExpiresAt: 1 << 60}
	r.decide(&raftlogv1.CompactionDecision{LeaderEpoch: epoch, LastToken: token, Assign: []*raftlogv1.JobLease{lease}}, raftlogv1.Result_STATUS_OK)
	return &raftlogv1.JobCompletion{Job: &raftlogv1.JobRef{Name: job.Name, Revision: r.applied}, Token: token + 1, Sources: job.Sources}
}

func (r *replica) completeJob(completion *raftlogv1.JobCompletion, results []*metastorev1.BlockMeta) {
	r.t.Helper()
	epoch, token := r.leadership()
	completion.Blocks = results
	r.decide(&raftlogv1.CompactionDecision{LeaderEpoch: epoch, LastToken: token, Complete: []*raftlogv1.JobCompletion{completion}}, raftlogv1.Result_STATUS_OK)
}

func (r *replica) leadership() (epoch, token uint64) {
	r.t.Helper()
	r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		epoch, token = v.LeaderEpoch, v.LastToken
		return nil
	}})
	return epoch, token
}

func (r *replica) pending(q statemachine.PendingTransfers) *statemachine.Pending {
	r.t.Helper()
	q.Context = r.t.Context()
	return r.lookup(q).(*statemachine.Pending)
}

// outgoing is all that waits.
func (r *replica) outgoing() []*raftlogv1.OutgoingTransfer {
	r.t.Helper()
	var all []*raftlogv1.OutgoingTransfer
	for _, p := range r.pending(statemachine.PendingTransfers{}).Transfers {
		all = append(all, p.Transfer)
	}
	return all
}

func acceptCommand(transfers ...*raftlogv1.OutgoingTransfer) *raftlogv1.Command {
	c := command(raftlogv1.Kind_KIND_ACCEPT_TRANSFERS, &raftlogv1.AcceptTransfers{Transfers: transfers})
	c.Range = wholeSpans()[0]
	return c
}

// accept hands transfers over, and returns up to where each is accepted.
func (r *replica) accept(transfers ...*raftlogv1.OutgoingTransfer) []uint64 {
	r.t.Helper()
	result := r.apply(acceptCommand(transfers...))
	wantStatus(r.t, result, raftlogv1.Result_STATUS_OK)
	return acceptedIn(r.t, result)
}

func acceptedIn(t *testing.T, result *raftlogv1.Result) []uint64 {
	t.Helper()
	outcomes := &raftlogv1.AcceptOutcomes{}
	if err := outcomes.UnmarshalVT(result.GetPayload()); err != nil {
		t.Fatal(err)
	}
	var numbers []uint64
	for _, outcome := range outcomes.Outcomes {
		numbers = append(numbers, outcome.Accepted)
	}
	return numbers
}

func ackCommand(acks ...*raftlogv1.TransferAck) *raftlogv1.Command {
	c := command(raftlogv1.Kind_KIND_ACK_TRANSFERS, &raftlogv1.AckTransfers{Acks: acks})
	c.Range = wholeSpans()[1]
	return c
}

func ackOf(transfer *raftlogv1.OutgoingTransfer) *raftlogv1.TransferAck {
	return &raftlogv1.TransferAck{Stream: transfer.Stream, Incarnation: transfer.Incarnation, Tenant: transfer.Tenant, Number: transfer.Number}
}

// seen is a query's answer: blocks, those that wait with their transfers, and how
// far the transfers are.
func (r *replica) seen(tenants ...string) string {
	r.t.Helper()
	answer := r.lookup(statemachine.QueryBlocks((request{tenants, 0, 9000, `{}`, nil}).parsed(r.t))).(*nodev1.QueryBlocksResponse)
	text := ""
	for _, block := range answer.Blocks {
		text += fmt.Sprintf("%s/%s", block.Tenant, block.Id[22:])
		if block.Transfer > 0 {
			text += fmt.Sprintf("@%d", block.Transfer)
		}
		text += " "
	}
	for _, mark := range answer.Watermarks.Issued {
		text += fmt.Sprintf("%d>%s:%d.%d/%d ", mark.Stream, mark.Tenant, mark.Incarnation, mark.Finished, mark.Issued)
	}
	for _, mark := range answer.Watermarks.Accepted {
		text += fmt.Sprintf("%d<%s:%d.%d ", mark.Stream, mark.Tenant, mark.Incarnation, mark.Accepted)
	}
	return text
}

func want(t *testing.T, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// claimed is a group that owns everything, with a leader.
func claimed(t *testing.T) *replica {
	r := newReplica(t)
	r.apply(initCommand())
	r.apply(claim("node", 1))
	return r
}

// The way of two transfers, from one group to another: what each group answers
// at each step, and what is left at the end.
func TestTransfers(t *testing.T) {
	a, b := claimed(t), claimed(t)
	m := newTables()
	results := func(tenants ...string) (blocks []*metastorev1.BlockMeta) {
		for _, tenant := range tenants {
			blocks = append(blocks, m.fresh(tenant, 1))
		}
		return blocks
	}
	a.applyEntry(&raftlogv1.Entry{ProposedAt: 50, Commands: []*raftlogv1.Command{claim("node", 2)}})
	a.finishJob([]*metastorev1.BlockMeta{m.fresh("", 0)}, results("acme", "acme", "other")) // 2, 3; 4
	a.applyEntry(&raftlogv1.Entry{ProposedAt: 60, Commands: []*raftlogv1.Command{claim("node", 3)}})
	a.finishJob([]*metastorev1.BlockMeta{m.fresh("", 0)}, results("acme")) // 6
	want(t, a.seen("acme"), "acme/0002@1 acme/0003@1 acme/0006@2 1>acme:1.0/2 ")
	want(t, a.seen("other", "acme"), "acme/0002@1 acme/0003@1 acme/0006@2 other/0004@1 1>acme:1.0/2 1>other:1.0/1 ")
	total := a.lookup(statemachine.OutboxTotals{}).([]statemachine.OutboxTotal)[0]
	want(t, []any{total.Transfers, total.Blocks, total.Oldest}, "[3 4 50]")
	want(t, a.lookup(statemachine.OutboxChains{Context: t.Context()}), "[{1 acme 2 3 50} {1 other 1 1 50}]")
	want(t, a.pending(statemachine.PendingTransfers{}).Transfers[2].MadeAt, 60)

	sent := a.outgoing()
	want(t, len(sent), 3)
	acme, other, next := sent[0], sent[1], sent[2]
	want(t, []any{acme.Tenant, other.Tenant, next.Tenant, acme.Previous, next.Previous, len(acme.Blocks)}, "[acme other acme 0 1 2]")

	want(t, b.accept(next), "[0]") // a gap
	want(t, b.seen("acme"), "")
	want(t, b.accept(acme, next), "[1 2]")
	want(t, b.accept(next, acme), "[2 2]") // again
	want(t, b.seen("acme", "other"), "acme/0002 acme/0003 acme/0006 1<acme:1.2 ")
	want(t, len(lines(stored(t, b), "queued 1 acme")), 3)
	want(t, b.accept(other), "[1]")

	wantStatus(t, a.apply(ackCommand(ackOf(acme), ackOf(other))), raftlogv1.Result_STATUS_OK)
	want(t, a.seen("acme", "other"), "acme/0006@2 1>acme:1.1/2 1>other:1.1/1 ")
	wantStatus(t, a.apply(ackCommand(ackOf(acme))), raftlogv1.Result_STATUS_ALREADY)
	beyond := ackOf(next)
	beyond.Number++
	wantStatus(t, a.apply(ackCommand(ackOf(next), beyond)), raftlogv1.Result_STATUS_CONFLICT)
	another := ackOf(next)
	another.Incarnation++
	wantStatus(t, a.apply(ackCommand(ackOf(next), another)), raftlogv1.Result_STATUS_CONFLICT)
	want(t, a.seen("acme"), "acme/0006@2 1>acme:1.1/2 ")
	stale := ackCommand(ackOf(next))
	stale.Range = &clusterv1.RangeRef{Keyspace: streams, Epoch: 9}
	wantStatus(t, a.apply(stale), raftlogv1.Result_STATUS_ROUTE)
	wantStatus(t, a.apply(ackCommand(ackOf(next), ackOf(acme))), raftlogv1.Result_STATUS_OK)
	want(t, a.seen("acme"), "1>acme:1.2/2 ")
	want(t, len(a.outgoing()), 0)
	want(t, a.lookup(statemachine.OutboxTotals{}), "[{1 1 0 0 0 0}]")
	if tenants := a.lookup(statemachine.ListTenants{Context: t.Context(), Ranges: wholeSpans()}).([]string); len(tenants) > 0 && slices.Contains(tenants, "other") {
		t.Errorf("the source still has %v", tenants)
	}
	want(t, a.status().Blocks, 0)
	want(t, b.status().Blocks, 4)
	if left := lines(stored(t, a), "tombstone"); len(left) != 2 { // of the two jobs' segments
		t.Errorf("tombstones %v", left)
	}
	a.check()
	b.check()
}

// A block that waits is read as one of the stream.
func TestGetWaitingBlocks(t *testing.T) {
	a, m := claimed(t), newTables()
	block := m.fresh("acme", 1)
	a.finishJob([]*metastorev1.BlockMeta{m.fresh("", 0)}, []*metastorev1.BlockMeta{block})
	get := func(span *clusterv1.RangeRef) int {
		return len(a.lookup(statemachine.GetBlocks{Context: t.Context(), Range: span, Tenant: "acme", Shard: 1, IDs: []ulid.ULID{mustID(t, block)}}).([][]byte))
	}
	want(t, get(pointRef("", 1)), 1)
	want(t, get(pointRef("acme", 1)), 0)
	transfer := a.outgoing()[0]
	a.accept(transfer) // one group is both
	want(t, []int{get(pointRef("", 1)), get(pointRef("acme", 1))}, "[1 1]")
	want(t, a.seen("acme"), "acme/0001 acme/0001@1 1>acme:1.0/1 1<acme:1.1 ")
	a.apply(ackCommand(ackOf(transfer)))
	want(t, []int{get(pointRef("", 1)), get(pointRef("acme", 1))}, "[0 1]")
	a.check()
	if _, err := a.machine.Lookup(statemachine.GetBlocks{Context: t.Context(), Range: pointRef("", 2), Tenant: "acme", Shard: 1}); err == nil {
		t.Error("another stream's span was accepted")
	}
}
