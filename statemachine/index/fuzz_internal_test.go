package index

import (
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Whatever is in a stored entry, reading it back ends with an error or with a
// block that holds together; it never runs past the entry and never panics.
func FuzzEntry(f *testing.F) {
	d := newDictionary(1)
	for _, s := range []string{"acme", "svc", "x"} {
		d.addString(s)
	}
	d.addSeries(series{1, []int32{2, 3}})
	known := d.terms(Record{Strings: 3, Series: 1})
	entry, _, err := newEntry(ulid.ULID{1}, &metastorev1.BlockMeta{Tenant: 1, CreatedBy: 2, MinTime: -5, MaxTime: 9, Shard: 3,
		Datasets: []*metastorev1.Dataset{{Tenant: 1, Name: 2, MinTime: -4, MaxTime: 8, TableOfContents: []uint64{1, 2}}, {}}}, [][]int32{{0, 0}, nil})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(entry)
	f.Add(entry[:entryFixed])
	f.Fuzz(func(t *testing.T, stored []byte) {
		h, err := readHead(stored)
		if err != nil {
			return
		}
		if list := h.list(); !slices.IsSorted(list) {
			t.Errorf("series %v", list)
		}
		h.any(newSeriesSet(10))
		encoded, err := newExporter(known).whole(h, nil)
		if err != nil {
			return
		}
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded); err != nil {
			return // other fields, which are not looked into
		}
		if len(block.StringTable) == 0 || block.StringTable[0] != "" {
			t.Errorf("string table %q", block.StringTable)
		}
	})
}

// Label sets come back from their encoding as they were, in their order.
func FuzzSeries(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0, 1, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := newDictionary(1)
		d.addString("a")
		d.addString("b")
		// What a damaged row holds is refused or understood.
		_ = newDictionary(1).appendSeries(raw)
		_ = newDictionary(1).appendStrings(raw)
		var want []series
		var chunk []byte
		for len(raw) > 1 {
			n := min(int(raw[0]%4)*2, len(raw)-1) / 2 * 2
			one := series{tenant: int32(raw[0] % 3)}
			for _, b := range raw[1 : 1+n] {
				one.set = append(one.set, int32(b%3))
			}
			want, chunk, raw = append(want, one), appendSeries(chunk, one), raw[1+n:]
		}
		if len(want) == 0 {
			return
		}
		if err := d.appendSeries(chunk); err != nil {
			t.Fatalf("%v: %v", want, err)
		}
		if !slices.EqualFunc(d.series, want, func(a, b series) bool { return a.tenant == b.tenant && slices.Equal(a.set, b.set) }) {
			t.Errorf("got %v, want %v", d.series, want)
		}
	})
}

// A node says of each series which children hold it, and nothing else.
func FuzzPostings(f *testing.F) {
	f.Add([]byte{1, 0, 3, 1, 63, 3})
	f.Fuzz(func(t *testing.T, raw []byte) {
		all := func(int32) bool { return true }
		_, _, _ = readNode(raw, all)
		children := make([]child, fanout)
		for i := 0; i+1 < len(raw); i += 2 {
			c := &children[raw[i]%fanout]
			c.series = append(c.series, int32(raw[i+1])*977)
			c.Bounds = Bounds{int64(raw[i]), int64(raw[i+1])}
		}
		for i := range children {
			slices.Sort(children[i].series)
			children[i].series = slices.Compact(children[i].series)
		}
		row, up := encodeNode(children)
		bounds, found, err := readNode(row, all)
		if err != nil || bounds != up.Bounds || len(found) != len(up.series) {
			t.Fatalf("%v, %d of %d series, %v", bounds, len(found), len(up.series), err)
		}
		for _, p := range found {
			for i, c := range children {
				if _, held := slices.BinarySearch(c.series, p.number); held != (p.mask&(1<<i) != 0) {
					t.Errorf("series %d, child %d: %v", p.number, i, held)
				}
			}
		}
	})
}
