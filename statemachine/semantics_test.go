package statemachine_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine"
)

const (
	id1 = "01JGJFGR480W3GE1R70W3GE1R7"
	id2 = "01JGJFGR48040G2081040G2081"
	id3 = "01JGJ6J3X8000000000000000A"
)

// dataset of tenant "acme", service "checkout", at 1000..2000, with the label
// sets given by references into the table of newBlock.
func newBlock(id string, labels ...int32) *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{
		Id: id, MinTime: 1000, MaxTime: 2000, CreatedBy: 9, Shard: 1,
		StringTable: []string{"", "acme", "checkout", "svc", "b", "type", "cpu", "ns", "x", "sw-0", "other"},
		Datasets:    []*metastorev1.Dataset{{Tenant: 1, Name: 2, MinTime: 1000, MaxTime: 2000, Labels: labels}},
	}
}

func filled(t *testing.T, blocks ...*metastorev1.BlockMeta) *replica {
	t.Helper()
	r := newReplica(t)
	r.apply(initCommand())
	for _, block := range blocks {
		r.apply(addCommand(block))
	}
	return r
}

func (q request) blocks(t *testing.T, r *replica) []*metastorev1.BlockMeta {
	t.Helper()
	var blocks []*metastorev1.BlockMeta
	for _, encoded := range r.lookup(statemachine.QueryBlocks(q.parsed(t))).(*nodev1.QueryBlocksResponse).GetBlocks() {
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded.GetBlock()); err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

func (q request) parsed(t *testing.T) statemachine.BlockQuery {
	t.Helper()
	matchers, err := selector.Parse(q.selector)
	if err != nil {
		t.Fatal(err)
	}
	return statemachine.BlockQuery{
		Context: t.Context(), Ranges: wholeSpans(), Tenants: q.tenants, Start: q.start, End: q.end, Matchers: matchers, Labels: q.labels,
	}
}

func TestTimeBoundsAreInclusive(t *testing.T) { // R-QRY-3, R-QRY-4
	r := filled(t, newBlock(id1, 1, 3, 4))
	for _, test := range []struct {
		start, end int64
		want       int
	}{
		{0, 1000, 1}, {0, 999, 0}, {2000, 9000, 1}, {2001, 9000, 0}, {1500, 1500, 1}, {1800, 1200, 1}, {2001, 1200, 0}, {1800, 999, 0},
	} {
		if got := (request{[]string{"acme"}, test.start, test.end, `{}`, nil}).blocks(t, r); len(got) != test.want {
			t.Errorf("%d..%d: %d blocks, want %d", test.start, test.end, len(got), test.want)
		}
	}
}

// Data is found by its own time, however far from the creation time in its id.
func TestNoLookAround(t *testing.T) { // R-PAR-4
	late := newBlock(id1, 1, 3, 4)
	const days30 = 30 * 24 * 3600 * 1000
	created := int64(1735787040000)
	late.MinTime, late.MaxTime = created-days30, created-days30+1000
	late.Datasets[0].MinTime, late.Datasets[0].MaxTime = late.MinTime, late.MaxTime
	r := filled(t, late)
	if got := (request{[]string{"acme"}, created - days30, created - days30 + 10, `{}`, nil}).blocks(t, r); len(got) != 1 {
		t.Errorf("%d blocks", len(got))
	}
}

func TestMatchersAndPresence(t *testing.T) { // R-QRY-7 to R-QRY-13
	// Sets {svc=b,type=cpu} and {svc=b,ns=x}.
	two := newBlock(id1, 2, 3, 4, 5, 6, 2, 3, 4, 7, 8)
	for _, test := range []struct {
		name  string
		block *metastorev1.BlockMeta
		query string
		want  int
	}{
		{"everything", two, `{}`, 1},
		{"one set", two, `{type="cpu"}`, 1},
		{"no set has both", two, `{type="cpu",ns="x"}`, 0},
		{"absent passes !=", two, `{svc="b",absent!="x"}`, 1},
		{"absent passes !~", two, `{absent!~".+"}`, 1},
		{"absent fails =", two, `{absent=""}`, 0},
		{"absent fails =~", two, `{absent=~".*"}`, 0},
		{"!= empty passes absent", two, `{absent!=""}`, 1},
		{"present must satisfy !=", two, `{svc!="b"}`, 0},
		{"anchored", two, `{type=~"cp"}`, 0},
		{"anchored, whole", two, `{type=~"cp."}`, 1},
		{"no label sets", newBlock(id1), `{}`, 0},
		{"an empty set", newBlock(id1, 0), `{}`, 1},
		{"an empty value is present", newBlock(id1, 1, 3, 0), `{svc=""}`, 1},
		{"the first of a repeated name counts", newBlock(id1, 2, 3, 4, 3, 8), `{svc="x"}`, 0},
		{"the first of a repeated name counts (2)", newBlock(id1, 2, 3, 4, 3, 8), `{svc="b"}`, 1},
	} {
		if got := (request{[]string{"acme"}, 0, 9000, test.query, nil}).blocks(t, filled(t, test.block)); len(got) != test.want {
			t.Errorf("%s: %d blocks for %s, want %d", test.name, len(got), test.query, test.want)
		}
	}
}

func TestTenantsOfDatasets(t *testing.T) { // R-QRY-5, R-QRY-6, R-QRY-20
	segment := newBlock(id1, 1, 3, 4)
	segment.Datasets = append(segment.Datasets,
		&metastorev1.Dataset{Tenant: 10, Name: 2, MinTime: 1000, MaxTime: 2000, Labels: []int32{1, 3, 4}},
		&metastorev1.Dataset{Tenant: 0, Name: 2, MinTime: 1000, MaxTime: 2000, Labels: []int32{1, 3, 4}})
	owned := newBlock(id2, 1, 3, 4)
	owned.Tenant = 1
	r := filled(t, segment, owned)
	for _, test := range []struct {
		tenants []string
		want    []int // datasets of each block
	}{
		{[]string{"acme"}, []int{1, 1}}, {[]string{"other"}, []int{1}}, {[]string{"acme", "other"}, []int{2, 1}},
		{[]string{""}, []int{1}}, {[]string{"nobody"}, nil}, {[]string{"acme", "acme"}, []int{1, 1}},
	} {
		var got []int
		for _, block := range (request{test.tenants, 0, 9000, `{}`, nil}).blocks(t, r) {
			got = append(got, len(block.GetDatasets()))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: datasets %v, want %v", test.tenants, got, test.want)
		}
	}
}

func TestKeptLabels(t *testing.T) { // R-QRY-14, R-QRY-15, R-STR-2
	r := filled(t, newBlock(id1, 2, 3, 4, 5, 6, 2, 3, 4, 7, 8))
	for _, test := range []struct {
		query  string
		labels []string
		want   []int32
		table  []string
	}{
		{`{}`, nil, nil, []string{"", "sw-0", "acme", "checkout"}},
		{`{}`, []string{"nowhere"}, []int32{0, 0}, []string{"", "sw-0", "acme", "checkout"}},
		{`{}`, []string{"type", "svc"}, []int32{2, 4, 5, 6, 7, 1, 6, 7}, []string{"", "sw-0", "acme", "checkout", "type", "cpu", "svc", "b"}},
		{`{ns="x"}`, []string{"svc", "svc"}, []int32{2, 4, 5, 4, 5}, []string{"", "sw-0", "acme", "checkout", "svc", "b"}},
		{`{}`, []string{"svc"}, []int32{1, 4, 5, 1, 4, 5}, []string{"", "sw-0", "acme", "checkout", "svc", "b"}},
	} {
		got := (request{[]string{"acme"}, 0, 9000, test.query, test.labels}).blocks(t, r)
		if len(got) != 1 || !slices.Equal(got[0].GetDatasets()[0].GetLabels(), test.want) || !slices.Equal(got[0].GetStringTable(), test.table) {
			t.Errorf("%s %q: got %v", test.query, test.labels, got)
		}
	}
}

func TestLabelProjections(t *testing.T) { // R-LBL-1 to R-LBL-4
	r := filled(t, newBlock(id1, 2, 3, 4, 5, 6, 2, 3, 4, 7, 8, 0), newBlock(id2, 2, 3, 4, 5, 6))
	q := request{[]string{"acme"}, 0, 9000, `{}`, []string{"type", "svc"}}
	var got [][2]string
	for _, projection := range r.lookup(statemachine.QueryLabels(q.parsed(t))).(*nodev1.QueryLabelsResponse).GetLabels() {
		got = append(got, [2]string{projection.GetLabels()[0].GetValue(), projection.GetLabels()[1].GetValue()})
	}
	if want := [][2]string{{"", ""}, {"", "b"}, {"cpu", "b"}}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	q.labels = nil
	if got := r.lookup(statemachine.QueryLabels(q.parsed(t))).(*nodev1.QueryLabelsResponse).GetLabels(); len(got) != 0 {
		t.Errorf("without labels: %v", got)
	}
}

func TestGetBlocks(t *testing.T) { // R-GET-1 to R-GET-4
	other := newBlock(id3, 1, 3, 4) // another partition
	r := filled(t, newBlock(id1), newBlock(id2), other)
	for _, test := range []struct {
		tenant string
		shard  uint32
		ids    []string
		want   []string
	}{
		{"", 1, []string{id2, id3, id1}, []string{id2, id3, id1}},
		{"", 1, []string{id1, "01J8E68YM0Z2RRKCY9SYGX3054", id1}, []string{id1, id1}},
		{"", 2, []string{id1}, nil},
		{"acme", 1, []string{id1}, nil},
		{"", 1, nil, nil},
	} {
		var got []string
		for _, block := range getBlocks(t, r, test.tenant, test.shard, test.ids...) {
			got = append(got, block.GetId())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q/%d %v: got %v, want %v", test.tenant, test.shard, test.ids, got, test.want)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	r := filled(t, newBlock(id1, 1, 3, 4), newBlock(id2, 1, 3, 4))
	q := (request{[]string{"acme"}, 0, 9000, `{}`, []string{"svc"}}).parsed(t)
	size := uint64(0)
	for _, encoded := range r.lookup(statemachine.QueryBlocks(q)).(*nodev1.QueryBlocksResponse).GetBlocks() {
		size += uint64(len(encoded.GetBlock()))
	}
	q.MaxBytes = size
	r.lookup(statemachine.QueryBlocks(q))
	q.MaxBytes = size - 1
	if _, err := r.machine.Lookup(statemachine.QueryBlocks(q)); !errors.Is(err, statemachine.ErrTooLarge) {
		t.Errorf("one byte less than the answer: %v", err)
	}
	q.MaxBytes = 1
	if _, err := r.machine.Lookup(statemachine.QueryLabels(q)); !errors.Is(err, statemachine.ErrTooLarge) {
		t.Errorf("labels: %v", err)
	}
}

func TestReadsByIDAreBounded(t *testing.T) {
	r := filled(t, newBlock(id1, 1, 3, 4), newBlock(id2, 1, 3, 4))
	parsed, err := metastorev1.ParseID(id1)
	if err != nil {
		t.Fatal(err)
	}
	q := statemachine.GetBlocks{Context: t.Context(), Range: pointRef("", 1), Shard: 1, IDs: []ulid.ULID{parsed, parsed}}
	one := uint64(len(r.lookup(q).([][]byte)[0]))
	q.MaxBytes = 2 * one
	r.lookup(q)
	q.MaxBytes--
	if _, err := r.machine.Lookup(q); !errors.Is(err, statemachine.ErrTooLarge) {
		t.Errorf("one byte less than the answer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q.Context = ctx
	if _, err := r.machine.Lookup(q); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The names that an answer repeats count, too, and so do labels that are asked
// for again and again.
func TestLabelAnswersAreBoundedWhileBuilt(t *testing.T) {
	r := filled(t, newBlock(id1, 1, 3, 4))
	long := string(make([]byte, 10_000))
	labels := (request{[]string{"acme"}, 0, 9000, `{}`, []string{"svc", long}}).parsed(t)
	labels.MaxBytes = 5_000
	if _, err := r.machine.Lookup(statemachine.QueryLabels(labels)); !errors.Is(err, statemachine.ErrTooLarge) {
		t.Errorf("long names: %v", err)
	}
	again := (request{[]string{"acme"}, 0, 9000, `{}`, slices.Repeat([]string{"svc"}, 3_000)}).parsed(t)
	again.MaxBytes = 5_000
	if _, err := r.machine.Lookup(statemachine.QueryBlocks(again)); !errors.Is(err, statemachine.ErrTooLarge) {
		t.Errorf("repeated names: %v", err)
	}
}

func TestCancelledQueriesStop(t *testing.T) { // R-QRY-21
	r := filled(t, newBlock(id1, 1, 3, 4))
	q := (request{[]string{"acme"}, 0, 9000, `{}`, nil}).parsed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q.Context = ctx
	if _, err := r.machine.Lookup(statemachine.QueryBlocks(q)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
