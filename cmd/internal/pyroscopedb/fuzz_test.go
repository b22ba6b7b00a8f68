package pyroscopedb

import (
	"testing"
	"time"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func FuzzStrings(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1}, []byte{0, 0, 0, 2, 0, 0, 0, 1, 'a', 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 9}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		table := newStringTable()
		table.add(key, value)
		if table.fault != nil && len(table.all) != 1 {
			t.Errorf("a damaged row added %d strings", len(table.all)-1)
		}
		size := 4
		for _, s := range table.all[1:] {
			size += 4 + len(s)
		}
		if table.fault == nil && size != len(value) {
			t.Errorf("%d bytes became strings of %d", len(value), size)
		}
	})
}

// Whatever a row holds: it is refused, or a valid block comes of it, and the next row
// does not notice.
func FuzzBlock(f *testing.F) {
	const id = "01JGJFGR480W3GE1R70W3GE1R7"
	table := newStringTable()
	table.add([]byte{0, 0, 0, 1}, []byte{0, 0, 0, 3, 0, 0, 0, 4, 'a', 'c', 'm', 'e', 0, 0, 0, 1, 'b', 0, 0, 0, 1, 'c'})
	place := Place{Start: time.UnixMilli(0), Duration: 1 << 62, Directory: "acme", Shard: 3}
	good, err := (&metastorev1.BlockMeta{Id: id, Shard: 3, Tenant: 1, Datasets: []*metastorev1.Dataset{{Tenant: 1, Name: 3, Labels: []int32{1, 2, 3, 0}}}}).MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, value []byte) {
		r := newResolver(table)
		block, err := r.block([]byte(id), value, place)
		if err == nil {
			if invalid := metastorev1.ValidateBlock(block); invalid != nil {
				t.Error(invalid)
			}
		}
		again, err := r.block([]byte(id), good, place)
		if err != nil || again.TenantName() != "acme" || again.StringAt(again.Datasets[0].Name) != "c" {
			t.Errorf("the next row is %v, %v", again, err)
		}
	})
}

func FuzzRows(f *testing.F) {
	f.Add([]byte("01234567"), []byte{0x32, 1, 0})
	f.Fuzz(func(_ *testing.T, key, value []byte) {
		_, _ = decodeQueued(key, value)
		encoded, err := planTombstonesOf(value)
		if err != nil {
			encoded = [][]byte{value}
		}
		for _, one := range encoded {
			yieldTombstone(func(*metastorev1.Tombstones, error) bool { return true }, func(error) bool { return true }, one)
		}
		_, _, _ = decodePartition(key)
	})
}
