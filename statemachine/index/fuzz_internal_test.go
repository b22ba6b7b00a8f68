package index

import (
	"cmp"
	"math"
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
		if list, err := h.list(); err == nil && !slices.IsSorted(list) {
			t.Errorf("series %v", list)
		}
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
		_ = newDictionary(1).appendSeries(raw, 0)
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
		// However many a damaged record tells of, room is made for a few.
		if err := d.appendSeries(chunk, math.MaxUint32); err != nil {
			t.Fatalf("%v: %v", want, err)
		}
		if room := cap(d.series.ends); room > 2*(len(want)+expectMax) {
			t.Errorf("room for %d series after %d", room, len(want))
		}
		// There is no string 3, and a series has as many references as it says.
		for _, damage := range [][]byte{{2, 0, 3, 0}, {0, 3}, {1, 0, 1}, {2, 0, 1}, {2}} {
			if err := d.appendSeries(append(slices.Clone(chunk), damage...), math.MaxUint32); err == nil {
				t.Errorf("a chunk that ends in %v was understood", damage)
			}
		}
		var got []series
		for number := range int32(d.series.len()) {
			got = append(got, d.series.at(number))
		}
		if !slices.EqualFunc(got, want, func(a, b series) bool { return a.tenant == b.tenant && slices.Equal(a.set, b.set) }) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// A node says of each series which children hold it, of those that overlap the
// time that was asked for, and nothing else.
func FuzzPostings(f *testing.F) {
	f.Add([]byte{1, 0, 3, 1, 63, 3}, int64(1), int64(1))
	f.Add([]byte{1, 0, 3, 1, 63, 3, 7, 255}, int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, raw []byte, from, to int64) {
		time, wanted := Bounds{from, to}, newSeriesSet(256*977)
		for number := range int32(256 * 977) {
			wanted.add(number)
		}
		// What a damaged row holds is refused or understood.
		_ = new(node).read(raw, time, wanted)
		_, _ = readAll(raw)

		children := make([]child, fanout)
		for i := 0; i+1 < len(raw); i += 2 {
			c := &children[raw[i]%fanout]
			c.series = append(c.series, int32(raw[i+1])*977)
			c.Bounds = Bounds{int64(raw[i]), int64(raw[i+1])}
			switch raw[i+1] % 5 {
			case 0:
				c.Min = math.MinInt64
			case 1:
				c.Max = math.MaxInt64
			}
		}
		for i := range children {
			slices.Sort(children[i].series)
			children[i].series = slices.Compact(children[i].series)
		}
		row, masks, up := encodeNode(children)
		if got, err := readAll(row); err != nil || got.Bounds != up.Bounds || !slices.Equal(got.series, up.series) || len(masks) != 8*len(up.series) {
			t.Fatalf("%v, %v: %v; %d bytes of masks", up, got, err, len(masks))
		}
		var n node
		if err := n.read(row, time, wanted); err != nil {
			t.Fatal(err)
		}
		if len(n.found) > 0 {
			if err := n.takeMasks(masks); err != nil {
				t.Fatal(err)
			}
		}
		for _, number := range up.series {
			var held, want uint64
			if at, found := slices.BinarySearchFunc(n.found, number, func(p posting, number int32) int { return cmp.Compare(p.number, number) }); found {
				held = n.found[at].mask
			}
			for i, c := range children {
				if _, there := slices.BinarySearch(c.series, number); there && c.overlaps(time) {
					want |= 1 << i
				}
			}
			if held != want {
				t.Errorf("series %d: children %x, want %x", number, held, want)
			}
		}
	})
}
