package index

import (
	"maps"
	"slices"
	"testing"
)

// Maps that were made before know what is read afterwards.
func TestMapsFollowWhatIsRead(t *testing.T) {
	d := newDictionary(1)
	d.addString("a")
	d.addString("b")
	all := []series{{1, []int32{1, 2}}, {1, []int32{2, 1}}, {2, nil}}
	for number, s := range all {
		if err := d.appendSeries(appendSeries(nil, s), uint32(len(all))); err != nil {
			t.Fatal(err)
		}
		if number == 0 {
			d.indexTenants()
			d.indexSeries()
		}
	}
	if want := map[int32][]int32{1: {0, 1}, 2: {2}}; !maps.EqualFunc(d.byTenant, want, slices.Equal) {
		t.Errorf("by tenant %v, want %v", d.byTenant, want)
	}
	for number, s := range all {
		if got, known := d.bySeries[string(appendSeries(nil, s))]; !known || got != int32(number) {
			t.Errorf("series %v is number %d, %v; want %d", s, got, known, number)
		}
	}
}
