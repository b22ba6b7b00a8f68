package index

import (
	"encoding/binary"
	"slices"

	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// project returns the values of the names in a set, "" where a label is absent.
func (t terms) project(set, names []int32) []string {
	values := make([]string, len(names))
	for i, name := range names {
		if value, present := valueOf(set, name); present {
			values[i] = t.strings[value]
		}
	}
	return values
}

// projectionKey is equal for equal values, and only for these.
func projectionKey(values []string) string {
	size := 0
	for _, value := range values {
		size += len(value) + 2
	}
	key := make([]byte, 0, size)
	for _, value := range values {
		// With their lengths: any byte may occur in a value.
		key = binary.AppendUvarint(key, uint64(len(value)))
		key = append(key, value...)
	}
	return string(key)
}

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

// add takes the values of one projection with their key.
func (d *distinctProjections) add(key string, values []string) error {
	if _, known := d.values[key]; known {
		return nil
	}
	for i, value := range values {
		d.bytes += uint64(len(d.names[i]) + len(value) + pairOverhead)
	}
	if d.limit > 0 && d.bytes > d.limit {
		return ErrTooLarge
	}
	d.values[key] = values
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
