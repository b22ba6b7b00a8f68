package statemachine_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/queue"
)

const (
	tenants = clusterv1.Keyspace_KEYSPACE_TENANT
	streams = clusterv1.Keyspace_KEYSPACE_STREAM
)

// span is a range of a layout; a hi of 0 is the end.
type span struct {
	keyspace clusterv1.Keyspace
	lo, hi   uint64
}

// layouts are which group owns what; the first one owns the streams.
var layouts = map[string][][]span{
	"three groups": {{{streams, 0, 0}}, {{tenants, 0, half}}, {{tenants, half, 0}}},
	"one group":    {{{streams, 0, 0}, {tenants, 0, 0}}},
	"two groups":   {{{streams, 0, 0}, {tenants, 0, half}}, {{tenants, half, 0}}},
}

// made is a tenant's block of the model.
type made struct {
	tenant string
	stream uint32
	// Numbers count the tenant's transfers in the stream, from 1 on.
	number int
}

// running is a job that has not completed.
type running struct {
	completion *raftlogv1.JobCompletion
	stream     uint32
	// When it began, among all events; times of its first and last source.
	begun          int
	oldest, newest uint64
}

// deleted is a deletion: of a tenant, until when.
type deleted struct {
	tenant string
	until  uint64
}

// sent is a message on its way.
type sent struct {
	to      int
	command *raftlogv1.Command
}

// exchange is groups that exchange transfers over a network that loses, repeats
// and delays, and what a naive model knows of it.
type exchange struct {
	t        *testing.T
	random   *rand.Rand
	groups   []*replica
	messages []sent
	jobs     []running
	// Segments that no job has taken, by stream.
	segments map[uint32][]*metastorev1.BlockMeta
	nextID   uint64 // of ranges
	clock    uint64 // milliseconds
	serial   int
	events   int

	// The model: blocks that are to be seen, transfers issued to each tenant by
	// each stream, and deletions that the streams know: until when, and since when.
	alive   map[string]made
	issued  map[string]int
	deleted map[string][2]uint64
	// What is deleted, and may be seen still; the deletions, each of which may come to
	// any group at any time again; and those that the streams do not know yet.
	dying     map[string]bool
	deletions []deleted
	pending   map[string]uint64
	// Transfers that were refused as too early, or as known, and messages that
	// were refused for their range.
	early, again, routed int
}

var exchanged = []string{"acme", "other", "b", "x", "cpu"}

func newExchange(t *testing.T, seed uint64, layout [][]span) *exchange {
	e := &exchange{
		t: t, random: rand.New(rand.NewPCG(seed, 9)), segments: map[uint32][]*metastorev1.BlockMeta{},
		nextID: 100, clock: 1 << 32, alive: map[string]made{}, issued: map[string]int{}, deleted: map[string][2]uint64{},
		dying: map[string]bool{}, pending: map[string]uint64{},
	}
	for _, spans := range layout {
		r := newReplica(t)
		var rows []*clusterv1.Range
		for i, s := range spans {
			rows = append(rows, &clusterv1.Range{RangeId: uint64(i + 1), Keyspace: s.keyspace, Lo: s.lo, Hi: s.hi, GroupId: group, Epoch: 1})
		}
		wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_INIT_GROUP, &raftlogv1.InitGroup{ClusterId: "c", GroupId: group, Ranges: rows})), raftlogv1.Result_STATUS_OK)
		r.apply(claim("node", 1))
		e.groups = append(e.groups, r)
	}
	return e
}

// owner finds the group and the range that hold a point.
func (e *exchange) owner(keyspace clusterv1.Keyspace, point uint64) (int, *clusterv1.RangeRef) {
	for i, r := range e.groups {
		for _, row := range r.status().Ranges {
			if row.GetKeyspace() == keyspace && row.Contains(point) {
				return i, refOf(row)
			}
		}
	}
	e.t.Fatalf("nobody owns %d of %s", point, keyspace)
	return 0, nil
}

func (e *exchange) block(tenant string, stream, level uint32, at uint64) *metastorev1.BlockMeta {
	e.serial++
	var id ulid.ULID
	if err := id.SetTime(at); err != nil {
		e.t.Fatal(err)
	}
	id[14], id[15] = byte(e.serial>>8), byte(e.serial)
	block := newBlock(id.String(), 1, 3, 4)
	block.Shard, block.CompactionLevel = stream, level
	if tenant != "" {
		block.Tenant = int32(slices.Index(block.StringTable, tenant))
		block.Datasets[0].Tenant = block.Tenant
	}
	return block
}

// add adds a segment.
func (e *exchange) add(stream uint32) {
	segment := e.block("", stream, 0, e.clock)
	to, ref := e.owner(streams, clusterv1.StreamPoint(stream))
	c := addCommand(segment)
	c.Range = ref
	wantStatus(e.t, e.groups[to].apply(c), raftlogv1.Result_STATUS_OK)
	e.segments[stream] = append(e.segments[stream], segment)
}

// start begins a job of what a stream has.
func (e *exchange) start(stream uint32) {
	sources := e.segments[stream]
	if len(sources) == 0 {
		return
	}
	e.segments[stream] = nil
	e.jobs = append(e.jobs, running{e.groups[0].startJob(sources), stream, e.events, createdAt(sources[0]), createdAt(sources[len(sources)-1])})
}

// finish completes a job, with blocks of some tenants; those whose tenant was
// deleted meanwhile are not to be seen.
func (e *exchange) finish() {
	if len(e.jobs) == 0 {
		return
	}
	n := e.random.IntN(len(e.jobs))
	job := e.jobs[n]
	e.jobs = slices.Delete(e.jobs, n, n+1)
	var results []*metastorev1.BlockMeta
	for _, tenant := range exchanged {
		if e.random.IntN(2) == 0 {
			continue
		}
		deletion, was := e.deleted[tenant]
		filed := !was || job.begun > int(deletion[1]) && job.newest > deletion[0]
		chain := fmt.Sprint(job.stream, tenant)
		if filed {
			e.issued[chain]++
		}
		for range 1 + e.random.IntN(2) {
			block := e.block(tenant, job.stream, 1, job.oldest)
			results = append(results, block)
			switch {
			case !filed:
			case job.oldest <= e.pending[tenant]:
				e.dying[block.Id] = true // the streams do not know yet
			default:
				e.alive[block.Id] = made{tenant, job.stream, e.issued[chain]}
			}
		}
	}
	if len(results) == 0 {
		job.completion.Return = []*raftlogv1.BlockBatch{{Blocks: job.completion.Sources, Attempts: 1}}
		job.completion.Sources = nil
	}
	e.groups[0].completeJob(job.completion, results)
}

// send puts what waits on its way, some of it, from somewhere on, in batches.
func (e *exchange) send() {
	q := statemachine.PendingTransfers{MaxTransfers: 1 + e.random.IntN(6), MaxBytes: 1 + e.random.IntN(2000)}
	if e.random.IntN(3) == 0 {
		spared := exchanged[e.random.IntN(len(exchanged))]
		q.Skip = func(_ uint32, tenant string) bool { return tenant == spared }
	}
	batches := map[string]*sent{}
	for more := true; more && e.random.IntN(5) > 0; {
		pending := e.groups[0].pending(q)
		more = pending.More
		for _, p := range pending.Transfers {
			q.After = p.At
			if e.random.IntN(8) == 0 {
				continue // out of order
			}
			to, ref := e.owner(tenants, clusterv1.TenantPoint(p.Transfer.Tenant, p.Transfer.Stream))
			if e.random.IntN(4) == 0 {
				point := clusterv1.TenantPoint(p.Transfer.Tenant, p.Transfer.Stream)
				ref.Lo, ref.Hi = point, point+1
			}
			batch := batches[ref.String()]
			if batch == nil {
				batch = &sent{to, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_ACCEPT_TRANSFERS, Range: ref}}
				batches[ref.String()] = batch
			}
			one, err := (&raftlogv1.AcceptTransfers{Transfers: []*raftlogv1.OutgoingTransfer{p.Transfer}}).MarshalVT()
			if err != nil {
				e.t.Fatal(err)
			}
			batch.command.Payload = append(batch.command.Payload, one...) // messages that follow each other are one
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(batches)) {
		e.messages = append(e.messages, *batches[ref])
	}
}

// deliver brings one message to its group, perhaps not for the last time; what
// was accepted is acknowledged by another message.
func (e *exchange) deliver() {
	if len(e.messages) == 0 {
		return
	}
	n := e.random.IntN(len(e.messages))
	message := e.messages[n]
	if fate := e.random.IntN(10); fate > 2 {
		e.messages = slices.Delete(e.messages, n, n+1)
	} else if fate == 2 {
		e.messages = slices.Delete(e.messages, n, n+1) // lost
		return
	}
	result := e.groups[message.to].apply(message.command)
	if result.GetStatus() == raftlogv1.Result_STATUS_ROUTE {
		e.routed++
		e.messages = slices.DeleteFunc(e.messages, func(m sent) bool { return m.command == message.command })
		return
	}
	if message.command.Kind == raftlogv1.Kind_KIND_ACK_TRANSFERS {
		if s := result.GetStatus(); s != raftlogv1.Result_STATUS_OK && s != raftlogv1.Result_STATUS_ALREADY {
			e.t.Fatalf("an acknowledgement: %v", result)
		}
		return
	}
	wantStatus(e.t, result, raftlogv1.Result_STATUS_OK)
	var request raftlogv1.AcceptTransfers
	if err := request.UnmarshalVT(message.command.Payload); err != nil {
		e.t.Fatal(err)
	}
	for i, number := range acceptedIn(e.t, result) {
		transfer := request.Transfers[i]
		switch {
		case number > transfer.Number:
			e.again++
		case number < transfer.Number:
			e.early++
			continue
		}
		_, ref := e.owner(streams, clusterv1.StreamPoint(transfer.Stream))
		ack := ackCommand(ackOf(transfer))
		ack.Range = ref
		e.messages = append(e.messages, sent{0, ack})
	}
}

// reshape splits a range of a group, or merges two.
func (e *exchange) reshape() {
	r := e.groups[e.random.IntN(len(e.groups))]
	rows := r.status().Ranges
	n := e.random.IntN(len(rows))
	e.nextID += 10
	if n+1 < len(rows) && rows[n].GetKeyspace() == rows[n+1].GetKeyspace() && rows[n].GetHi() == rows[n+1].GetLo() && e.random.IntN(2) == 0 {
		wantStatus(e.t, r.apply(replace(rows[n:n+2], joined(rows[n:n+2], e.nextID))), raftlogv1.Result_STATUS_OK)
		return
	}
	at := e.random.Uint64()
	if row := rows[n]; row.Contains(at) && at > row.GetLo() {
		wantStatus(e.t, r.apply(replace(rows[n:n+1], cut(row, e.nextID, at))), raftlogv1.Result_STATUS_OK)
	}
}

// forget deletes a tenant: all that it has by now. It may be seen until the deletion
// is everywhere.
func (e *exchange) forget() {
	tenant := exchanged[e.random.IntN(len(exchanged))]
	if e.pending[tenant] != 0 {
		return
	}
	for id, m := range e.alive {
		if m.tenant == tenant {
			e.dying[id] = true
			delete(e.alive, id)
		}
	}
	e.deletions = append(e.deletions, deleted{tenant, e.clock})
	e.pending[tenant] = e.clock
	e.clock++
}

// remind brings a deletion to some range, for the first time or again; to the streams
// all at once, which is when it counts for jobs.
func (e *exchange) remind(d deleted) {
	r := e.groups[e.random.IntN(len(e.groups))]
	rows := r.status().Ranges
	row := rows[e.random.IntN(len(rows))]
	if row.GetKeyspace() == tenants {
		e.remove(r, row, d)
		return
	}
	for _, row := range rows {
		if row.GetKeyspace() == streams {
			e.remove(r, row, d)
		}
	}
	if e.pending[d.tenant] == d.until {
		delete(e.pending, d.tenant)
		e.deleted[d.tenant] = [2]uint64{d.until, uint64(e.events)}
	}
}

func (e *exchange) remove(r *replica, row *clusterv1.Range, d deleted) {
	c := command(raftlogv1.Kind_KIND_DELETE_TENANT, &raftlogv1.DeleteTenant{Tenant: d.tenant, Until: d.until})
	c.Range = refOf(row)
	wantStatus(e.t, r.apply(c), raftlogv1.Result_STATUS_OK)
}

func (e *exchange) step() {
	e.events++
	e.clock += e.random.Uint64N(3)
	if e.random.IntN(50) == 0 {
		e.clock += partitionMillis / 2
	}
	stream := uint32(1 + e.random.IntN(2))
	switch n := e.random.IntN(100); {
	case n < 15:
		e.add(stream)
	case n < 25:
		e.start(stream)
	case n < 38:
		e.finish()
	case n < 50:
		e.send()
	case n < 90:
		e.deliver()
	case n < 94:
		e.reshape()
	case n < 96:
		e.forget()
		if e.random.IntN(2) == 0 {
			e.remind(e.deletions[len(e.deletions)-1])
		}
	case n < 97 && len(e.deletions) > 0:
		for range e.random.IntN(8) {
			e.remind(e.deletions[e.random.IntN(len(e.deletions))])
		}
	case n < 98:
		r := e.groups[e.random.IntN(len(e.groups))]
		if err := r.machine.Sync(); err != nil {
			e.t.Fatal(err)
		}
		r.crash()
	default:
		for _, r := range e.groups {
			r.check()
		}
	}
}

// watermark is what the two sides say of a stream and tenant.
type watermark struct{ issued, finished, accepted uint64 }

// look compares what all groups together answer, by the watermarks, with the
// model: each block is seen once.
func (e *exchange) look() {
	e.t.Helper()
	marks, seen := map[string]watermark{}, map[string]string{}
	var answers []*nodev1.QueryBlocksResponse
	for _, r := range e.groups {
		var refs []*clusterv1.RangeRef
		for _, row := range r.status().Ranges {
			refs = append(refs, refOf(row))
		}
		answer := r.lookup(statemachine.QueryBlocks{Context: e.t.Context(), Ranges: refs, Tenants: exchanged, End: 9000}).(*nodev1.QueryBlocksResponse)
		answers = append(answers, answer)
		for _, m := range answer.Watermarks.Issued {
			mark := marks[fmt.Sprint(m.Stream, m.Tenant)]
			mark.issued, mark.finished = m.Issued, m.Finished
			marks[fmt.Sprint(m.Stream, m.Tenant)] = mark
		}
		for _, m := range answer.Watermarks.Accepted {
			mark := marks[fmt.Sprint(m.Stream, m.Tenant)]
			mark.accepted = m.Accepted
			marks[fmt.Sprint(m.Stream, m.Tenant)] = mark
		}
	}
	for chain, mark := range marks {
		if mark.finished > mark.accepted || mark.accepted > mark.issued {
			e.t.Fatalf("%s: %+v", chain, mark)
		}
	}
	if len(marks) != len(e.issued) {
		e.t.Fatalf("watermarks of %d streams and tenants, want %d", len(marks), len(e.issued))
	}
	for i, answer := range answers {
		for _, block := range answer.Blocks {
			if block.Tenant == "" || block.Transfer > 0 && block.Transfer <= marks[fmt.Sprint(block.Shard, block.Tenant)].accepted {
				continue
			}
			if _, alive := e.alive[block.Id]; !alive && !e.dying[block.Id] {
				e.t.Fatalf("group %d has %s of %q in transfer %d: it is not to be seen", i, block.Id, block.Tenant, block.Transfer)
			}
			if before, twice := seen[block.Id]; twice {
				e.t.Fatalf("group %d has %s in transfer %d, and so has %s", i, block.Id, block.Transfer, before)
			}
			seen[block.Id] = fmt.Sprintf("group %d, transfer %d", i, block.Transfer)
		}
	}
	for id, m := range e.alive {
		if seen[id] == "" {
			e.t.Fatalf("%s of %q, stream %d, is not seen: %+v", id, m.tenant, m.stream, marks[fmt.Sprint(m.stream, m.tenant)])
		}
	}
}

// settle brings everything to its end without further faults.
func (e *exchange) settle() {
	e.t.Helper()
	everywhere := func() {
		for _, d := range e.deletions {
			for _, r := range e.groups {
				for _, row := range r.status().Ranges {
					e.remove(r, row, d)
				}
			}
		}
	}
	everywhere()
	defer func() {
		everywhere()
		e.look()
	}()
	clear(e.dying)
	a := e.groups[0]
	for round := 0; ; round++ {
		transfers := a.outgoing()
		if len(transfers) == 0 {
			break
		}
		if round == 10 {
			e.t.Fatalf("%d transfers are stuck", len(transfers))
		}
		for _, transfer := range transfers {
			to, ref := e.owner(tenants, clusterv1.TenantPoint(transfer.Tenant, transfer.Stream))
			c := acceptCommand(transfer)
			c.Range = ref
			result := e.groups[to].apply(c)
			wantStatus(e.t, result, raftlogv1.Result_STATUS_OK)
			if acceptedIn(e.t, result)[0] < transfer.Number {
				e.t.Fatalf("%v is not accepted", transfer)
			}
			ack := ackCommand(ackOf(transfer))
			_, ack.Range = e.owner(streams, clusterv1.StreamPoint(transfer.Stream))
			a.apply(ack)
		}
	}
	e.look()
	blocks := 0
	for _, segments := range e.segments {
		blocks += len(segments)
	}
	for _, job := range e.jobs {
		blocks += len(job.completion.Sources)
	}
	waiting := map[string]int{}
	for _, r := range e.groups {
		r.check()
		blocks -= int(r.status().Blocks)
		r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
			for key := range v.Queue.Oldest(1) {
				for place := range v.Queue.Blocks(key.Key, queue.Place{}) {
					waiting[place.ID.String()]++
				}
			}
			for batch := range v.Queue.Returned(0) {
				blocks += len(batch.Blocks)
			}
			return nil
		}})
	}
	if -blocks != len(e.alive) {
		e.t.Errorf("the groups have %d blocks of tenants, want %d", -blocks, len(e.alive))
	}
	for id := range e.alive {
		if waiting[id] != 1 {
			e.t.Errorf("%s waits %d times for compaction", id, waiting[id])
		}
		delete(waiting, id)
	}
	if len(waiting) > 0 {
		e.t.Errorf("for compaction wait %v, too", waiting)
	}
	for _, total := range a.lookup(statemachine.OutboxTotals{}).([]statemachine.OutboxTotal) {
		if total.Transfers != 0 || total.Blocks != 0 || total.Bytes != 0 || total.Oldest != 0 {
			e.t.Errorf("nothing waits, and the stream says %+v", total)
		}
	}
}

// usualSeeds are run always: in each of them everything happens.
const usualSeeds = 4

var transferSeeds = flag.Uint64("transfers", usualSeeds, "seeds of TestTransfersAgainstModel")

// Groups exchange transfers over a bad network, crash, split and merge their
// ranges and delete tenants: at any time each block is seen once, as the
// watermarks tell, and at the end each is where it belongs.
func TestTransfersAgainstModel(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and in one goroutine")
	}
	for name, layout := range layouts {
		for seed := range *transferSeeds {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				e := newExchange(t, seed, layout)
				for round := range 600 {
					e.step()
					if round%5 == 0 {
						e.look()
					}
				}
				e.settle()
				if seed < usualSeeds && (e.early == 0 || e.again == 0 || e.routed == 0 || len(e.alive) == 0) {
					t.Errorf("too little happened: %d early, %d again, %d refused for their range, %d blocks", e.early, e.again, e.routed, len(e.alive))
				}
			})
		}
	}
}
