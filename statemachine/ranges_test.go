package statemachine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

func replace(before, after []*clusterv1.Range) *raftlogv1.Command {
	return command(raftlogv1.Kind_KIND_REPLACE_RANGES, &raftlogv1.ReplaceRanges{OperationId: 5, Before: before, After: after})
}

// cut returns what splits a range at points, with ids from first on.
func cut(r *clusterv1.Range, first uint64, at ...uint64) []*clusterv1.Range {
	var parts []*clusterv1.Range
	lo := r.GetLo()
	for i, hi := range append(at, r.GetHi()) {
		parts = append(parts, &clusterv1.Range{
			RangeId: first + uint64(i), Keyspace: r.GetKeyspace(), Lo: lo, Hi: hi, GroupId: r.GetGroupId(), Epoch: r.GetEpoch() + 1,
		})
		lo = hi
	}
	return parts
}

// joined returns what merges neighbours.
func joined(rows []*clusterv1.Range, id uint64) []*clusterv1.Range {
	whole := proto.CloneOf(rows[0])
	whole.RangeId, whole.Hi = id, rows[len(rows)-1].GetHi()
	for _, row := range rows {
		whole.Epoch = max(whole.Epoch, row.GetEpoch()+1)
	}
	return []*clusterv1.Range{whole}
}

func refOf(r *clusterv1.Range) *clusterv1.RangeRef {
	return &clusterv1.RangeRef{Keyspace: r.GetKeyspace(), Lo: r.GetLo(), Hi: r.GetHi(), Epoch: r.GetEpoch()}
}

// asked returns how the group answers who believes in a range.
func (r *replica) asked(ref *clusterv1.RangeRef) *clusterv1.RouteError {
	r.t.Helper()
	_, err := r.machine.Lookup(statemachine.ListTenants{Context: r.t.Context(), Ranges: []*clusterv1.RangeRef{ref}})
	var refusal *statemachine.RouteRefusal
	if errors.As(err, &refusal) {
		return refusal.Detail
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return nil
}

func TestReplaceRanges(t *testing.T) {
	r := newReplica(t)
	tenants := &clusterv1.Range{RangeId: 1, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, GroupId: group, Epoch: 1}
	parts := cut(tenants, 3, half)
	wantRoute(t, r.apply(replace([]*clusterv1.Range{tenants}, parts)), raftlogv1.Result_STATUS_ROUTE, clusterv1.RouteError_REASON_NOT_READY, "")
	r.apply(initCommand())
	const owned = "1:0-0 g7 e1 o0"
	one := func(change func(before *clusterv1.Range, after []*clusterv1.Range)) *raftlogv1.Command {
		before, after := proto.CloneOf(tenants), cut(tenants, 3, half)
		change(before, after)
		return replace([]*clusterv1.Range{before}, after)
	}
	before := r.status()
	for name, c := range map[string]*raftlogv1.Command{
		"nothing before": replace(nil, parts),
		"nothing after":  replace([]*clusterv1.Range{tenants}, nil),
		"a hole":         one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].Lo++ }),
		"an overlap":     one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].Lo-- }),
		"fewer points":   one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].Hi-- }),
		"reversed":       one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].Hi = 5 }),
		"an empty range": one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[0].Hi, after[1].Lo = 0, 0 }),
		"epoch too low":  one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[0].Epoch-- }),
		"epoch too high": one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].Epoch++ }),
		"id twice":       one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].RangeId = 3 }),
		"id of before":   one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].RangeId = 1 }),
		"no id":          one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].RangeId = 0 }),
		"other keyspace": one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].Keyspace = 2 }),
		"no keyspace": one(func(b *clusterv1.Range, after []*clusterv1.Range) {
			b.Keyspace, after[0].Keyspace, after[1].Keyspace = 0, 0, 0
		}),
		"other group":  one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].GroupId = 8 }),
		"an operation": one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].OperationId = 5 }),
		"the last epoch": one(func(b *clusterv1.Range, after []*clusterv1.Range) {
			b.Epoch, after[0].Epoch, after[1].Epoch = 1<<64-1, 0, 0
		}),
		"not a message":   {Kind: raftlogv1.Kind_KIND_REPLACE_RANGES, Payload: []byte{0xff}},
		"before overlaps": replace([]*clusterv1.Range{tenants, {RangeId: 9, Keyspace: 1, GroupId: group, Epoch: 1}}, parts),
	} {
		if result := r.apply(c); result.GetStatus() != raftlogv1.Result_STATUS_INVALID {
			t.Errorf("%s: %v", name, result)
		}
	}
	for name, c := range map[string]*raftlogv1.Command{
		"id in use":     one(func(_ *clusterv1.Range, after []*clusterv1.Range) { after[1].RangeId = 2 }),
		"unknown range": one(func(b *clusterv1.Range, _ []*clusterv1.Range) { b.RangeId = 9 }),
		"another group": one(func(b *clusterv1.Range, after []*clusterv1.Range) {
			b.GroupId, after[0].GroupId, after[1].GroupId = 8, 8, 8
		}),
		"another epoch": one(func(b *clusterv1.Range, after []*clusterv1.Range) { b.Epoch, after[0].Epoch, after[1].Epoch = 2, 3, 3 }),
		"another bound": one(func(b *clusterv1.Range, after []*clusterv1.Range) { b.Lo, after[0].Lo = 1, 1 }),
		"another end":   one(func(b *clusterv1.Range, after []*clusterv1.Range) { b.Hi, after[1].Hi = half+1, half+1 }),
		"other keyspace": one(func(b *clusterv1.Range, after []*clusterv1.Range) {
			b.Keyspace, after[0].Keyspace, after[1].Keyspace = 2, 2, 2
		}),
	} {
		want := owned
		if name == "other keyspace" {
			want = "2:0-0 g7 e1 o0"
		}
		t.Log(name)
		wantRoute(t, r.apply(c), raftlogv1.Result_STATUS_CONFLICT, clusterv1.RouteError_REASON_NOT_OWNER, want)
	}
	if after := r.status(); rangeText(after.Ranges) != rangeText(before.Ranges) {
		t.Fatalf("refusals changed the ranges to %s", rangeText(after.Ranges))
	}

	slices.Reverse(parts) // the order does not matter
	wantStatus(t, r.apply(replace([]*clusterv1.Range{tenants}, parts)), raftlogv1.Result_STATUS_OK)
	wantStatus(t, r.apply(replace([]*clusterv1.Range{tenants}, parts)), raftlogv1.Result_STATUS_ALREADY)
	both := "3:0-8 g7 e2 o0, 4:8-0 g7 e2 o0"
	if got := rangeText(r.status().Ranges); got != both+", 2:0-0 g7 e1 o0" {
		t.Errorf("ranges %s", got)
	}
	for _, test := range []struct {
		lo, hi, epoch uint64
		reason        clusterv1.RouteError_Reason
		current       string
	}{
		{0, 0, 1, clusterv1.RouteError_REASON_NOT_OWNER, both},
		{0, 0, 2, clusterv1.RouteError_REASON_NOT_OWNER, both}, // owned, but not as one range
		{half - 1, half + 1, 2, clusterv1.RouteError_REASON_NOT_OWNER, both},
		{half - 1, half, 1, clusterv1.RouteError_REASON_STALE_EPOCH, "3:0-8 g7 e2 o0"},
		{half, half + 1, 1, clusterv1.RouteError_REASON_STALE_EPOCH, "4:8-0 g7 e2 o0"},
		{half, 0, 3, clusterv1.RouteError_REASON_EPOCH_AHEAD, ""},
		{half, 0, 2, 0, ""},
		{5, half, 2, 0, ""},
	} {
		refusal := r.asked(&clusterv1.RangeRef{Keyspace: 1, Lo: test.lo, Hi: test.hi, Epoch: test.epoch})
		if refusal.GetReason() != test.reason || rangeText(refusal.GetCurrent()) != test.current {
			t.Errorf("%x-%x at epoch %d: %v", test.lo, test.hi, test.epoch, refusal)
		}
	}
	wantStatus(t, r.apply(replace(parts, joined([]*clusterv1.Range{parts[1], parts[0]}, 5))), raftlogv1.Result_STATUS_OK)
	wantRoute(t, r.apply(replace([]*clusterv1.Range{tenants}, parts)), raftlogv1.Result_STATUS_CONFLICT, clusterv1.RouteError_REASON_NOT_OWNER, "5:0-0 g7 e3 o0")
}

// The next command of the same entry is checked against the new ranges.
func TestReplacedWithinAnEntry(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	tenants := r.status().Ranges[0]
	add := addCommand(realBlocks(t)[100]) // has a tenant
	entry := &raftlogv1.Entry{Commands: []*raftlogv1.Command{replace([]*clusterv1.Range{tenants}, cut(tenants, 3, half)), add}}
	results := r.update([]*raftlogv1.Entry{nil, entry}, 1)[0].GetResults()
	wantStatus(t, results[0], raftlogv1.Result_STATUS_OK)
	if reason := results[1].GetRoute().GetReason(); reason != clusterv1.RouteError_REASON_STALE_EPOCH {
		t.Errorf("an add at the old epoch: %v", results[1])
	}
}

func wantRoute(t *testing.T, result *raftlogv1.Result, status raftlogv1.Result_Status, reason clusterv1.RouteError_Reason, current string) {
	t.Helper()
	wantStatus(t, result, status)
	if result.GetRoute().GetReason() != reason || rangeText(result.GetRoute().GetCurrent()) != current {
		t.Errorf("route %v", result.GetRoute())
	}
}

// rangeWalk splits and merges ranges of a group at random.
type rangeWalk struct {
	*replica
	random *rand.Rand
	rows   []*clusterv1.Range // in a map's order
	next   uint64
	blocks []*metastorev1.BlockMeta
}

func newRangeWalk(t *testing.T, seed uint64) *rangeWalk {
	w := &rangeWalk{replica: newReplica(t), random: rand.New(rand.NewPCG(seed, 3)), next: 3, blocks: realBlocks(t)[:50]}
	w.apply(initCommand())
	w.rows = w.status().Ranges
	return w
}

// step replaces ranges and returns those replaced, with the command.
func (w *rangeWalk) step() ([]*clusterv1.Range, *raftlogv1.Command) {
	w.t.Helper()
	i := w.random.IntN(len(w.rows))
	n := 1
	for i+n < len(w.rows) && n < 4 && w.rows[i+n].GetKeyspace() == w.rows[i].GetKeyspace() && w.random.IntN(2) == 0 {
		n++
	}
	before := slices.Clone(w.rows[i : i+n])
	after := joined(before, w.next)
	if n == 1 {
		row := before[0]
		at := []uint64{row.GetLo() + 1 + w.random.Uint64N((row.GetHi()-row.GetLo()-1)/2), 0}
		at[1] = at[0] + 1 + w.random.Uint64N(row.GetHi()-at[0]-2)
		after = cut(row, w.next, at[:1+w.random.IntN(2)]...)
	}
	w.next += uint64(len(after))
	c := replace(before, after)
	wantStatus(w.t, w.apply(c), raftlogv1.Result_STATUS_OK)
	w.rows = slices.Replace(w.rows, i, i+n, after...)
	return before, c
}

// A group that owns everything goes on owning everything, and knows whose view is
// old.
func TestRandomSplitsAndMerges(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and in one goroutine")
	}
	for seed := range uint64(3) {
		w := newRangeWalk(t, seed)
		for _, block := range w.blocks {
			w.apply(addCommand(block))
		}
		var gone []*clusterv1.Range
		var commands []*raftlogv1.Command
		for range 150 {
			before, c := w.step()
			wantStatus(t, w.apply(c), raftlogv1.Result_STATUS_ALREADY)
			if len(commands) > 0 { // a late repeat
				if late := w.apply(commands[w.random.IntN(len(commands))]); late.GetStatus() == raftlogv1.Result_STATUS_OK {
					t.Fatalf("a repeat was applied")
				}
			}
			gone, commands = append(gone, before...), append(commands, c)
			if got, want := rangeText(w.status().Ranges), rangeText(w.rows); got != want {
				t.Fatalf("ranges %s, want %s", got, want)
			}
			m := &clusterv1.RangeMap{Cluster: &clusterv1.Cluster{}, Groups: []*clusterv1.Group{{GroupId: group}}, Ranges: w.rows}
			if err := clusterv1.CheckRangeIDs(m); err != nil {
				t.Fatal(err)
			}
			for range 10 {
				w.askOld(gone[w.random.IntN(len(gone))])
			}
			for _, row := range w.rows {
				if refusal := w.asked(refOf(row)); refusal != nil {
					t.Fatalf("range %v is refused: %v", row, refusal)
				}
			}
		}
		m, err := clusterv1.NewMap(&clusterv1.RangeMap{Cluster: &clusterv1.Cluster{}, Groups: []*clusterv1.Group{{GroupId: group}}, Ranges: w.rows})
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range w.blocks {
			ref := pointRef(block.TenantName(), block.GetShard())
			ref.Epoch = m.Lookup(ref.GetKeyspace(), ref.GetLo()).GetEpoch()
			got := w.lookup(statemachine.GetBlocks{Context: t.Context(), Range: ref, Tenant: block.TenantName(), Shard: block.GetShard(), IDs: []ulid.ULID{mustID(t, block)}}).([][]byte)
			if len(got) != 1 {
				t.Errorf("block %s is found %d times", block.GetId(), len(got))
			}
		}
		w.check()
	}
}

func mustID(t *testing.T, block *metastorev1.BlockMeta) ulid.ULID {
	t.Helper()
	id, err := metastorev1.ParseID(block.GetId())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// askOld asks with a range that is gone: how it is refused is told by a search
// through all ranges.
func (w *rangeWalk) askOld(old *clusterv1.Range) {
	w.t.Helper()
	ref := refOf(old)
	var overlapping []*clusterv1.Range
	for _, row := range w.rows {
		if row.Overlaps(ref) {
			overlapping = append(overlapping, row)
		}
	}
	want := clusterv1.RouteError_REASON_NOT_OWNER
	if len(overlapping) == 1 {
		want = clusterv1.RouteError_REASON_STALE_EPOCH
	}
	refusal := w.asked(ref)
	if refusal.GetReason() != want || rangeText(refusal.GetCurrent()) != rangeText(overlapping) {
		w.t.Errorf("range %v is gone, and answered %v; there is %s", old, refusal, rangeText(overlapping))
	}
	i := slices.IndexFunc(w.blocks, func(block *metastorev1.BlockMeta) bool {
		keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
		return keyspace == old.GetKeyspace() && old.Contains(point)
	})
	if i < 0 {
		return
	}
	add := addCommand(w.blocks[i])
	add.Range.Epoch = old.GetEpoch()
	// Of one point, which one range holds: its epoch is what matters.
	if result := w.apply(add); result.GetRoute().GetReason() != clusterv1.RouteError_REASON_STALE_EPOCH {
		w.t.Errorf("a command that believes in range %v: %v", old, result)
	}
}

// rangeChanges is a log of splits and merges among adds that believe this and
// that.
func rangeChanges(t *testing.T) []*raftlogv1.Entry {
	w := newRangeWalk(t, 11)
	w.apply(claim("a", 1))
	var last *raftlogv1.Command
	for range 120 {
		switch w.random.IntN(4) {
		case 0:
			_, last = w.step()
		case 1:
			if last != nil {
				w.apply(last)
			}
		default:
			add := addCommand(randomBlock(w.random))
			add.Range.Epoch += w.random.Uint64N(4)
			w.apply(add)
		}
	}
	if len(w.rows) < 5 {
		t.Fatal(fmt.Sprint("few ranges: ", rangeText(w.rows)))
	}
	return w.recorded
}
