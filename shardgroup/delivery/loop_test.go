package delivery_test

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup/delivery"
)

// outbox is transfers that wait, in order.
type outbox struct {
	rows   []delivery.Row
	issued map[delivery.Pair]uint64
	bytes  int // of each block's metadata
	broken error
	// How often all streams were set back.
	rewinds uint64
	// Rows that After told of.
	walked int
	// Streams that are not here now.
	gone map[uint32][]delivery.Row
}

func (o *outbox) issue(stream uint32, tenant string, numbers ...uint64) {
	if o.issued == nil {
		o.issued = map[delivery.Pair]uint64{}
	}
	pair := delivery.Pair{Stream: stream, Tenant: tenant}
	for _, x := range numbers {
		o.rows = append(o.rows, delivery.Row{
			Position: delivery.Position{Stream: stream, Tenant: tenant, Number: x}, Incarnation: o.incarnation(),
			Transfer: &raftlogv1.Transfer{Previous: o.issued[pair], Blocks: []string{fmt.Sprint(x)}},
		})
		o.issued[pair] = x
	}
	slices.SortFunc(o.rows, func(a, b delivery.Row) int { return comparePositions(a.Position, b.Position) })
}

func comparePositions(a, b delivery.Position) int {
	return cmp.Or(cmp.Compare(clusterv1.StreamPoint(a.Stream), clusterv1.StreamPoint(b.Stream)), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Tenant, b.Tenant))
}

func (o *outbox) Streams() iter.Seq2[delivery.Stream, error] {
	return func(yield func(delivery.Stream, error) bool) {
		all := map[uint32]delivery.Stream{}
		for pair, last := range o.issued {
			if o.gone[pair.Stream] != nil {
				continue
			}
			s := all[pair.Stream]
			all[pair.Stream] = delivery.Stream{Stream: pair.Stream, Incarnation: o.incarnation(), Last: max(s.Last, last)}
		}
		for _, row := range o.rows {
			s := all[row.Stream]
			s.Waiting = true
			all[row.Stream] = s
		}
		for _, stream := range slices.SortedFunc(maps.Keys(all), func(a, b uint32) int {
			return cmp.Compare(clusterv1.StreamPoint(a), clusterv1.StreamPoint(b))
		}) {
			if !yield(all[stream], nil) {
				return
			}
		}
	}
}

func (o *outbox) incarnation() uint64 { return 1 + o.rewinds }

func (o *outbox) After(after delivery.Position) iter.Seq2[delivery.Position, error] {
	return func(yield func(delivery.Position, error) bool) {
		for _, row := range o.rows {
			if row.Stream != after.Stream || comparePositions(row.Position, after) <= 0 {
				continue
			}
			o.walked++
			if !yield(row.Position, nil) {
				return
			}
		}
	}
}

func (o *outbox) Chain(pair delivery.Pair) iter.Seq2[delivery.Row, error] {
	return func(yield func(delivery.Row, error) bool) {
		for _, row := range o.rows {
			if row.Stream == pair.Stream && row.Tenant == pair.Tenant && !yield(row, nil) {
				return
			}
		}
	}
}

func (o *outbox) Load(row delivery.Row) ([]*metastorev1.BlockMeta, error) {
	var blocks []*metastorev1.BlockMeta
	for _, id := range row.GetBlocks() {
		blocks = append(blocks, &metastorev1.BlockMeta{Id: id, StringTable: []string{strings.Repeat("x", o.bytes)}})
	}
	return blocks, o.broken
}

func (o *outbox) ack(acks []*raftlogv1.TransferAck) {
	o.rows = slices.DeleteFunc(o.rows, func(row delivery.Row) bool {
		return slices.ContainsFunc(acks, func(a *raftlogv1.TransferAck) bool {
			return a.GetStream() == row.Stream && a.GetTenant() == row.Tenant && row.Number <= a.GetNumber()
		})
	})
}

// tenants is groups that accept transfers; the tenant's first letter is the name of
// its group.
type tenants struct {
	accepted map[delivery.Pair]uint64
	taken    []string // in order
}

func (d *tenants) accept(batch *delivery.Batch) []*raftlogv1.AcceptOutcome {
	if d.accepted == nil {
		d.accepted = map[delivery.Pair]uint64{}
	}
	var outcomes []*raftlogv1.AcceptOutcome
	for _, t := range batch.Transfers {
		pair := delivery.Pair{Stream: t.GetStream(), Tenant: t.GetTenant()}
		if t.GetNumber() > d.accepted[pair] && t.GetPrevious() <= d.accepted[pair] {
			d.accepted[pair] = t.GetNumber()
			d.taken = append(d.taken, name(t))
		}
		outcomes = append(outcomes, &raftlogv1.AcceptOutcome{Incarnation: 1, Accepted: d.accepted[pair]})
	}
	return outcomes
}

func name(t *raftlogv1.OutgoingTransfer) string {
	return fmt.Sprintf("%d/%s/%d", t.GetStream(), t.GetTenant(), t.GetNumber())
}

func names(batches ...*delivery.Batch) []string {
	var all []string
	for _, b := range batches {
		for _, t := range b.Transfers {
			all = append(all, name(t))
		}
	}
	return all
}

// byLetter routes tenants to groups by their first letter; the second one is the
// range in it.
func byLetter(pair delivery.Pair) (uint64, *clusterv1.RangeRef, bool) {
	if pair.Tenant == "lost" {
		return 0, nil, false
	}
	return uint64(pair.Tenant[0]), &clusterv1.RangeRef{Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Lo: uint64(pair.Tenant[1]), Epoch: 1}, true
}

type bench struct {
	*testing.T
	loop   *delivery.Loop
	outbox *outbox
	dest   *tenants
	route  delivery.Route
	now    time.Time
}

func newBench(t *testing.T, change func(*delivery.Config)) *bench {
	config := delivery.Defaults()
	config.Random = func() float64 { return 0.5 }
	if change != nil {
		change(&config)
	}
	return &bench{T: t, loop: delivery.New(config), outbox: &outbox{}, dest: &tenants{}, route: byLetter, now: time.Unix(1000, 0)}
}

func (b *bench) plan() delivery.Plan {
	b.Helper()
	plan, err := b.loop.Plan(b.now, b.outbox, b.route)
	if err != nil {
		b.Fatal(err)
	}
	return plan
}

func (b *bench) want(got []string, want ...string) {
	b.Helper()
	if !slices.Equal(got, want) {
		b.Fatalf("got %v, want %v", got, want)
	}
}

// deliver has a batch accepted.
func (b *bench) deliver(batch *delivery.Batch) {
	b.Helper()
	if _, err := b.loop.Delivered(b.now, batch, b.dest.accept(batch)); err != nil {
		b.Fatal(err)
	}
}

// drain delivers until nothing waits, without failures.
func (b *bench) drain() {
	b.Helper()
	for range 1000 {
		plan := b.plan()
		if len(plan.Acks) > 0 {
			b.outbox.ack(plan.Acks)
			b.loop.AckEnded(plan.Acks, nil)
		}
		for _, batch := range plan.Batches {
			b.deliver(batch)
		}
		if len(b.outbox.rows) == 0 {
			return
		}
		b.now = b.now.Add(time.Second)
	}
	b.Fatalf("%d transfers were never delivered, such as %v", len(b.outbox.rows), b.outbox.rows[0])
}

func TestBatchesByDestination(t *testing.T) {
	b := newBench(t, func(c *delivery.Config) { c.BatchTransfers = 3 })
	b.outbox.issue(1, "ax", 1, 2)
	b.outbox.issue(1, "ay", 1)
	b.outbox.issue(1, "bx", 2, 3, 4, 5)
	b.outbox.issue(2, "ax", 1, 2)
	plan := b.plan()
	if len(plan.Batches) != 3 {
		t.Fatalf("%d batches, want one for each of three ranges", len(plan.Batches))
	}
	// The point of stream 2 comes before that of stream 1.
	b.want(names(plan.Batches...), "2/ax/1", "2/ax/2", "1/ax/1", "1/ay/1", "1/bx/2", "1/bx/3", "1/bx/4")
	// All are on their way; nothing is sent twice.
	if again := b.plan(); len(again.Batches)+len(again.Acks) > 0 {
		t.Fatalf("planned again: %v, %v", names(again.Batches...), again.Acks)
	}
	for _, batch := range plan.Batches {
		b.deliver(batch)
	}
	plan = b.plan()
	b.want(names(plan.Batches...), "1/ax/2", "1/bx/5")
	acks := map[string]uint64{}
	for _, ack := range plan.Acks {
		acks[fmt.Sprint(ack.GetStream(), ack.GetTenant())] = ack.GetNumber()
	}
	if want := map[string]uint64{"2ax": 2, "1ax": 1, "1ay": 1, "1bx": 4}; !maps.Equal(acks, want) {
		t.Fatalf("acks are %v", acks)
	}
	// Acks that failed are planned again, once at a time.
	if more := b.plan(); len(more.Acks) > 0 {
		t.Fatal("acks while others are under way")
	}
	b.loop.AckEnded(plan.Acks, errors.New("no leader"))
	if more := b.plan(); len(more.Acks) != 4 {
		t.Fatalf("acks are %v", more.Acks)
	}
}

func TestBatchesAreBoundedInBytes(t *testing.T) {
	b := newBench(t, func(c *delivery.Config) { c.BatchBytes = 2500 })
	b.outbox.bytes = 1000
	b.outbox.issue(1, "ax", 1, 2, 3)
	plan := b.plan()
	b.want(names(plan.Batches...), "1/ax/1", "1/ax/2")
	// One that is too large for any batch travels alone.
	b = newBench(t, func(c *delivery.Config) { c.BatchBytes = 500 })
	b.outbox.bytes = 1000
	b.outbox.issue(1, "ax", 1, 2)
	b.want(names(b.plan().Batches...), "1/ax/1")
	b = newBench(t, func(c *delivery.Config) { c.BatchTransfers, c.ScanRows = 7, 30 })
	for i := range 40 {
		b.outbox.issue(uint32(i%5+1), fmt.Sprintf("%c%c", 'a'+i%11, 'a'+i%3), 1, 2, 3)
	}
	b.drain()
}

// Groups that do not answer hold up nobody else, whatever their number.
func TestSickGroupsHoldUpNobody(t *testing.T) {
	b := newBench(t, nil)
	for letter := 'a'; letter <= 'p'; letter++ {
		b.outbox.issue(1, string(letter)+"x", 1)
	}
	b.outbox.issue(1, "zz", 1)
	sick := errors.New("no answer")
	var waiting []*delivery.Batch
	for range 10 {
		plan := b.plan()
		for _, batch := range plan.Batches {
			if batch.Group == 'z' {
				b.deliver(batch)
				continue
			}
			waiting = append(waiting, batch)
		}
		if b.dest.accepted[delivery.Pair{Stream: 1, Tenant: "zz"}] == 1 {
			break
		}
		for _, batch := range waiting {
			b.loop.Failed(b.now, batch, sick)
		}
		waiting = nil
	}
	b.outbox.ack([]*raftlogv1.TransferAck{{Stream: 1, Tenant: "zz", Number: 1}})
	for _, batch := range waiting {
		b.loop.Failed(b.now, batch, sick)
	}
	// From now on all of the sick ones take their time, always; the one that works
	// is served at once.
	waiting = nil
	for x := uint64(2); x < 10; x++ {
		b.now = b.now.Add(10 * time.Second) // longer than any pause
		waiting = append(waiting, b.plan().Batches...)
		b.outbox.issue(1, "zz", x)
		plan := b.plan()
		if !slices.Contains(names(plan.Batches...), fmt.Sprintf("1/zz/%d", x)) {
			t.Fatalf("transfer %d waits for sick groups: %v", x, names(plan.Batches...))
		}
		for _, batch := range plan.Batches {
			if batch.Group == 'z' {
				b.deliver(batch)
			} else {
				waiting = append(waiting, batch)
			}
		}
		if len(waiting) > 4 {
			t.Fatalf("%d attempts at sick groups at the same time", len(waiting))
		}
		if x%3 == 0 {
			for _, batch := range waiting {
				b.loop.Failed(b.now, batch, sick)
			}
			waiting = nil
		}
	}
}

func TestPausesGrow(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1)
	b.outbox.issue(1, "ay", 1)
	var pauses []time.Duration
	for range 12 {
		plan := b.plan()
		if len(plan.Batches) == 0 {
			t.Fatal("no attempt after the pause")
		}
		for _, batch := range plan.Batches {
			b.loop.Failed(b.now, batch, errors.New("no"))
		}
		plan = b.plan()
		if len(plan.Batches) > 0 || !plan.Again.After(b.now) {
			t.Fatalf("%d batches at once, then at %v", len(plan.Batches), plan.Again)
		}
		pauses = append(pauses, plan.Again.Sub(b.now))
		b.now = plan.Again
	}
	if !slices.IsSorted(pauses) || pauses[0] > 100*time.Millisecond || pauses[11] != 3750*time.Millisecond {
		t.Errorf("pauses are %v", pauses)
	}
	if err := b.loop.Trouble(delivery.Pair{Stream: 1, Tenant: "ax"}, 'a'); err == nil || err.Error() != "no" {
		t.Errorf("the trouble is %v", err)
	}
	b.deliver(b.plan().Batches[0])
	if err := b.loop.Trouble(delivery.Pair{Stream: 1, Tenant: "ax"}, 'a'); err != nil {
		t.Errorf("the trouble is %v", err)
	}
}

// A range was split: what was refused goes to the two new ones.
func TestRoutesChange(t *testing.T) {
	b := newBench(t, nil)
	whole := &clusterv1.RangeMap{
		Cluster: &clusterv1.Cluster{ClusterId: "c", MapVersion: 1, ActiveVersion: 1},
		Nodes:   []*clusterv1.Node{{NodeId: "n"}},
		Groups:  []*clusterv1.Group{{GroupId: 2, Replicas: []*clusterv1.Replica{{ReplicaId: 1, NodeId: "n", Role: clusterv1.ReplicaRole_REPLICA_ROLE_VOTER}}}},
		Ranges: []*clusterv1.Range{
			{RangeId: 1, Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM, GroupId: 2, Epoch: 1},
			{RangeId: 2, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, GroupId: 2, Epoch: 1},
		},
	}
	m, err := clusterv1.NewMap(whole)
	if err != nil {
		t.Fatal(err)
	}
	low, high := "", ""
	for i := 0; low == "" || high == ""; i++ {
		tenant := fmt.Sprint("t", i)
		if clusterv1.TenantPoint(tenant, 1) < 1<<63 {
			low = tenant
		} else {
			high = tenant
		}
	}
	b.outbox.issue(1, low, 1)
	b.outbox.issue(1, high, 1)
	var hints delivery.Hints
	b.route = hints.Route(m)
	plan := b.plan()
	if len(plan.Batches) != 1 || len(plan.Batches[0].Transfers) != 2 {
		t.Fatalf("batches %v", names(plan.Batches...))
	}
	b.loop.Failed(b.now, plan.Batches[0], delivery.ErrRoute)
	split := []*clusterv1.Range{
		{RangeId: 3, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Hi: 1 << 63, GroupId: 2, Epoch: 2},
		{RangeId: 4, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Lo: 1 << 63, GroupId: 2, Epoch: 2},
	}
	hints.Learn(split)
	hints.Learn([]*clusterv1.Range{{RangeId: 2, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, GroupId: 2, Epoch: 1}}) // late
	b.route = hints.Route(m)
	b.now = b.now.Add(time.Second)
	for want := range 2 {
		plan = b.plan() // the first one finds out whether the group is well again
		if len(plan.Batches) != 1 || plan.Batches[0].Range.GetEpoch() != 2 {
			t.Fatalf("attempt %d: batches %v", want, plan.Batches)
		}
		b.deliver(plan.Batches[0])
	}
	if len(b.dest.taken) != 2 {
		t.Fatalf("accepted %v", b.dest.taken)
	}
	whole.Cluster.MapVersion, whole.Ranges = 2, append(whole.Ranges[:1], split...)
	if m, err = clusterv1.NewMap(whole); err != nil {
		t.Fatal(err)
	}
	if group, ref, known := hints.Route(m)(delivery.Pair{Stream: 1, Tenant: high}); group != 2 || ref.GetLo() != 1<<63 || !known {
		t.Errorf("routed to %d %v", group, ref)
	}
}

func TestUnknownRoutesWait(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1)
	b.outbox.issue(1, "lost", 1)
	plan := b.plan()
	b.want(names(plan.Batches...), "1/ax/1")
	if plan.Again.IsZero() || !errors.Is(b.loop.Trouble(delivery.Pair{Stream: 1, Tenant: "lost"}, 0), delivery.ErrUnrouted) {
		t.Error("a tenant without a range is not told of")
	}
}

// A destination that lacks what was sent before tells so, and gets it from there.
func TestGaps(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1, 2, 3)
	first := b.plan().Batches[0]
	// The destination has only taken the first one, for whatever reason.
	outcomes := []*raftlogv1.AcceptOutcome{{Incarnation: 1, Accepted: 1}, {Incarnation: 1, Accepted: 1}, {Incarnation: 1, Accepted: 1}}
	if accepted, err := b.loop.Delivered(b.now, first, outcomes); accepted != 1 || !errors.Is(err, delivery.ErrGap) {
		t.Fatalf("%d accepted, %v", accepted, err)
	}
	if plan := b.plan(); len(plan.Batches) > 0 || len(plan.Acks) != 1 || plan.Acks[0].GetNumber() != 1 {
		t.Fatalf("the plan is %+v", plan)
	}
	b.now = b.now.Add(time.Minute)
	b.dest.accepted = map[delivery.Pair]uint64{{Stream: 1, Tenant: "ax"}: 1}
	plan := b.plan()
	b.want(names(plan.Batches...), "1/ax/2", "1/ax/3")
	b.deliver(plan.Batches[0])
	// A gap before all that waits: nothing can close it, and nobody else waits for it.
	b = newBench(t, nil)
	b.outbox.issue(1, "ax", 5)
	b.outbox.rows[0].Previous = 4
	b.outbox.issue(1, "ay", 1)
	for _, batch := range b.plan().Batches {
		_, err := b.loop.Delivered(b.now, batch, b.dest.accept(batch))
		if gap := batch.Range.GetLo() == 'x'; gap != errors.Is(err, delivery.ErrGap) {
			t.Errorf("range %c: %v", rune(batch.Range.GetLo()), err)
		}
	}
	plan = b.plan()
	if len(plan.Batches) > 0 || len(plan.Acks) != 1 || plan.Acks[0].GetTenant() != "ay" {
		t.Fatalf("the plan is %+v", plan)
	}
}

// Nothing is forgotten because of what another incarnation accepted.
func TestOtherIncarnations(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1)
	b.outbox.issue(1, "ay", 1)
	for _, batch := range b.plan().Batches {
		incarnation, want := uint64(2), delivery.ErrIncarnation
		if batch.Range.GetLo() == 'y' {
			incarnation, want = 0, delivery.ErrGap
		}
		if _, err := b.loop.Delivered(b.now, batch, []*raftlogv1.AcceptOutcome{{Incarnation: incarnation, Accepted: 9}}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if plan := b.plan(); len(plan.Acks) > 0 || len(plan.Batches) > 0 {
		t.Errorf("the plan is %+v", plan)
	}
}

// The answer was lost: the same is sent again, harmlessly.
func TestLostAnswers(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1, 2)
	batch := b.plan().Batches[0]
	b.dest.accept(batch)
	b.loop.Failed(b.now, batch, errors.New("timed out"))
	b.outbox.issue(1, "ax", 3)
	b.now = b.now.Add(time.Second)
	b.drain()
	b.want(b.dest.taken, "1/ax/1", "1/ax/2", "1/ax/3")
	// Half an answer is none.
	b.outbox.issue(1, "ax", 4, 5)
	batch = b.plan().Batches[0]
	if _, err := b.loop.Delivered(b.now, batch, b.dest.accept(batch)[:1]); err == nil {
		t.Error("an answer about one of two transfers was taken")
	}
	b.now = b.now.Add(time.Second)
	b.drain()
}

// One transfer that the destination refuses does not hold up those beside it.
func TestInvalidTransfersAreSentAlone(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "axa", 1)
	b.outbox.issue(1, "axbad", 1, 2)
	b.outbox.issue(1, "axc", 1)
	bad := func(batch *delivery.Batch) bool {
		return slices.ContainsFunc(batch.Transfers, func(t *raftlogv1.OutgoingTransfer) bool { return t.GetTenant() == "axbad" })
	}
	for range 20 {
		plan := b.plan()
		b.outbox.ack(plan.Acks)
		b.loop.AckEnded(plan.Acks, nil)
		for _, batch := range plan.Batches {
			if bad(batch) {
				b.loop.Failed(b.now, batch, fmt.Errorf("%w: really", delivery.ErrInvalid))
			} else {
				b.deliver(batch)
			}
		}
	}
	b.want(b.dest.taken, "1/axa/1", "1/axc/1")
	if err := b.loop.Trouble(delivery.Pair{Stream: 1, Tenant: "axbad"}, 'a'); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("the trouble is %v", err)
	}
	b.now = b.now.Add(time.Hour) // the destination was upgraded
	b.drain()
	b.want(b.dest.taken, "1/axa/1", "1/axc/1", "1/axbad/1", "1/axbad/2")
}

// Two senders at once, as while leadership changes, do no harm.
func TestTwoSenders(t *testing.T) {
	b := newBench(t, func(c *delivery.Config) { c.BatchTransfers = 2 })
	other := *b
	config := delivery.Defaults()
	config.Random, config.BatchTransfers = func() float64 { return 0 }, 3
	other.loop = delivery.New(config)
	b.outbox.issue(1, "ax", 1, 2, 3, 4, 5)
	b.outbox.issue(2, "ax", 1, 2, 3)
	for turn := 0; len(b.outbox.rows) > 0; turn++ {
		if turn > 100 {
			t.Fatalf("%d transfers are left", len(b.outbox.rows))
		}
		one, two := b.plan(), other.plan()
		for _, batch := range one.Batches {
			b.deliver(batch)
		}
		b.outbox.ack(one.Acks)
		b.loop.AckEnded(one.Acks, nil)
		for _, batch := range two.Batches { // later, of an older state
			other.deliver(batch)
		}
		b.outbox.ack(two.Acks)
		other.loop.AckEnded(two.Acks, nil)
	}
	b.want(b.dest.taken, "2/ax/1", "2/ax/2", "2/ax/3", "1/ax/1", "1/ax/2", "1/ax/3", "1/ax/4", "1/ax/5")
}

// A state that cannot be read leaves no batches behind that never end.
func TestBrokenOutbox(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1)
	b.outbox.broken = errors.New("broken")
	if _, err := b.loop.Plan(b.now, b.outbox, b.route); err == nil || b.loop.InFlight() != 0 {
		t.Fatalf("%v, %d in flight", err, b.loop.InFlight())
	}
	b.outbox.broken = nil
	b.drain()
}

// Streams that have more than there is room for take turns.
func TestStreamsTakeTurns(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*delivery.Config)
		tenant func(stream uint32) string
	}{
		"one range": {
			func(c *delivery.Config) { c.BatchTransfers = 2 },
			func(uint32) string { return "ax" },
		},
		"one place": {
			func(c *delivery.Config) { c.BatchTransfers, c.Concurrency = 2, 1 },
			func(stream uint32) string { return fmt.Sprintf("%cx", 'a'+stream) },
		},
		"rows out of sight": {
			func(c *delivery.Config) { c.BatchTransfers, c.ScanRows = 2, 50 },
			func(uint32) string { return "ax" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, test.change)
			const streams, rounds = 3, 30
			next := uint64(1)
			issue := func() {
				for stream := range uint32(streams) {
					b.outbox.issue(stream, test.tenant(stream), next, next+1)
				}
				next += 2
			}
			for range 10 {
				issue()
			}
			served := map[uint32]int{}
			for range rounds {
				plan := b.plan()
				if len(plan.Acks) > 0 {
					b.outbox.ack(plan.Acks)
					b.loop.AckEnded(plan.Acks, nil)
				}
				for _, batch := range plan.Batches {
					served[batch.Transfers[0].GetStream()]++
					b.deliver(batch)
				}
				issue() // as many as go out, and more
			}
			for stream := range uint32(streams) {
				if served[stream] < rounds/streams/2 {
					t.Fatalf("batches by stream: %v", served)
				}
			}
		})
	}
}

// Groups that hang, more than may be tried at a time and for longer than a pause
// lasts, are all tried: one that works again is served.
func TestGroupsThatHangTakeTurns(t *testing.T) {
	b := newBench(t, nil)
	const groups = 14
	for i := range rune(groups) {
		for j := range rune(3) {
			b.outbox.issue(1, fmt.Sprintf("%c%c", 'a'+i, 'a'+j), 1)
		}
	}
	tried := map[uint64]int{}
	for round := range 20 {
		plan := b.plan()
		for _, batch := range plan.Batches {
			if round >= 4 { // by then it is known of all
				tried[batch.Group]++
			}
		}
		b.now = b.now.Add(6 * time.Second)
		for _, batch := range plan.Batches {
			b.loop.Failed(b.now, batch, errors.New("no answer"))
		}
	}
	if len(tried) != groups {
		t.Fatalf("of %d groups %d were tried: %v", groups, len(tried), tried)
	}
}

// Pairs are found once, when their transfers are made, and none is forgotten: not those of
// streams that leave with what waits and come back, nor those of streams that were set back.
func TestEachPairIsFoundOnce(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 7))
		b := newBench(t, func(c *delivery.Config) { c.BatchTransfers, c.ScanRows = 1+random.IntN(4), 8+random.IntN(30) })
		var number, issued, again, cut uint64
		away := map[uint32][]delivery.Row{}
		for range 300 {
			stream := uint32(1 + random.IntN(3))
			switch what := random.IntN(20); {
			case what < 8 && away[stream] == nil:
				number++
				for range 1 + random.IntN(12) {
					tenant := fmt.Sprintf("%c%c", 'a'+random.IntN(4), 'u'+random.IntN(6))
					if b.outbox.issued[delivery.Pair{Stream: stream, Tenant: tenant}] != number {
						b.outbox.issue(stream, tenant, number)
						issued++
					}
				}
			case what == 8 && away[stream] == nil:
				away[stream] = []delivery.Row{}
				b.outbox.rows = slices.DeleteFunc(b.outbox.rows, func(row delivery.Row) bool {
					if row.Stream == stream {
						away[stream] = append(away[stream], row)
					}
					return row.Stream == stream
				})
				b.outbox.gone = away
				plan := b.plan()
				b.loop.AckEnded(plan.Acks, errors.New("no"))
				for _, batch := range plan.Batches {
					b.deliver(batch)
				}
			case what == 9 && away[stream] != nil:
				b.outbox.rows = append(b.outbox.rows, away[stream]...)
				slices.SortFunc(b.outbox.rows, func(a, b delivery.Row) int { return comparePositions(a.Position, b.Position) })
				again += uint64(len(away[stream]))
				delete(away, stream)
			default:
				plan := b.plan()
				if plan.More {
					cut++ // it has seen a row that it left
				}
				b.outbox.ack(plan.Acks)
				b.loop.AckEnded(plan.Acks, nil)
				for _, batch := range plan.Batches {
					if random.IntN(4) == 0 {
						b.loop.Failed(b.now, batch, errors.New("no"))
						b.now = b.now.Add(time.Minute)
						continue
					}
					b.deliver(batch)
				}
			}
		}
		for stream, rows := range away {
			b.outbox.rows = append(b.outbox.rows, rows...)
			again += uint64(len(rows))
			delete(away, stream)
		}
		slices.SortFunc(b.outbox.rows, func(a, b delivery.Row) int { return comparePositions(a.Position, b.Position) })
		walked := uint64(b.outbox.walked)
		b.drain()
		if walked > issued+again+cut {
			t.Errorf("seed %d: %d rows were walked through to find %d, and %d again", seed, walked, issued, again)
		}
	}
}

// A plan that fails halfway leaves all as it was.
func TestFailedPlanForgetsNothing(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1)
	b.outbox.issue(1, "bx", 1)
	b.drain() // both are known, and have nothing
	b.outbox.issue(1, "cx", 2)
	b.outbox.issue(1, "dx", 2)
	b.outbox.broken = errors.New("the disk is gone")
	for range 3 {
		if _, err := b.loop.Plan(b.now, b.outbox, b.route); !errors.Is(err, b.outbox.broken) {
			t.Fatal(err)
		}
	}
	if b.loop.InFlight() > 0 {
		t.Errorf("%d batches are on their way", b.loop.InFlight())
	}
	b.outbox.broken = nil
	b.want(names(b.plan().Batches...), "1/cx/2", "1/dx/2")
}

// A stream that was set back begins with its first number again.
func TestStreamIsSetBack(t *testing.T) {
	b := newBench(t, nil)
	b.outbox.issue(1, "ax", 1, 2, 3)
	b.drain()
	if plan := b.plan(); !plan.Empty {
		t.Error("there is something left")
	}
	b.outbox.rewinds++
	b.outbox.issued, b.dest.accepted = nil, nil
	b.outbox.issue(1, "ax", 1)
	b.want(names(b.plan().Batches...), "1/ax/1")
}
