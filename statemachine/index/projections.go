package index

import (
	"encoding/binary"
	"slices"

	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// distinctProjections collects the answer of a label query.
type distinctProjections struct {
	names []string
	// Bound of the encoded answer, 0 for none.
	limit  uint64
	bytes  uint64
	values map[string][]string
}

// pairOverhead is what framing adds to the two strings of a pair on the wire,
// at least.
const pairOverhead = 6

// add takes the values of one projection, as references into a shard's table.
func (d *distinctProjections) add(table *stringTable, refs []int32) error {
	values := make([]string, len(refs))
	var key []byte
	var bytes uint64
	for i, ref := range refs {
		values[i] = table.list[ref]
		// With their lengths: any byte may occur in a value.
		key = binary.AppendUvarint(key, uint64(len(values[i])))
		key = append(key, values[i]...)
		bytes += uint64(len(d.names[i]) + len(values[i]) + pairOverhead)
	}
	if _, known := d.values[string(key)]; known {
		return nil
	}
	if d.bytes += bytes; d.limit > 0 && d.bytes > d.limit {
		return ErrTooLarge
	}
	d.values[string(key)] = values
	return nil
}

// sorted returns the projections by name and value. All have the same names in
// the same order, so comparing values is comparing pairs.
func (d *distinctProjections) sorted() []*typesv1.Labels {
	all := make([][]string, 0, len(d.values))
	for _, values := range d.values {
		all = append(all, values)
	}
	slices.SortFunc(all, slices.Compare)
	answer := make([]*typesv1.Labels, len(all))
	for i, values := range all {
		answer[i] = &typesv1.Labels{Labels: make([]*typesv1.LabelPair, len(values))}
		for j, value := range values {
			answer[i].Labels[j] = &typesv1.LabelPair{Name: d.names[j], Value: value}
		}
	}
	return answer
}
