package index

// keeper collects the datasets of a block that a query selects, with the labels
// it asks for.
type keeper struct {
	terms    terms
	selected *seriesSet
	names    []int32 // of labels to keep; absent ones are -1
	room     uint64
	kept     []keptDataset
	// Backs the labels of the block under way.
	labels []int32
}

func newKeeper(t terms, selected *seriesSet, names []string) *keeper {
	k := &keeper{terms: t, selected: selected}
	for _, name := range names {
		k.names = append(k.names, t.number(name))
	}
	return k
}

// reset begins the next block. Its labels may not exceed the room, bytes.
func (k *keeper) reset(room uint64) {
	k.kept, k.labels, k.room = k.kept[:0], k.labels[:0], room
}

// dataset keeps a dataset if one of its label sets is selected. Without names
// to keep it gets no labels; with names each selected set, in stored order,
// gives a set of the pairs whose names are kept, in the order of the names,
// which may be empty.
func (k *keeper) dataset(d dataset) error {
	matched := false
	first := len(k.labels)
	fits, known := true, true
	d.each(func(number int32) bool {
		if known = int(number) < k.terms.series.len(); !known {
			return false
		}
		if !k.selected.has(uint64(number)) {
			return true
		}
		matched = true
		if len(k.names) == 0 {
			return false
		}
		k.project(k.terms.series.set(number))
		// Names that are asked for more than once multiply the labels: what is
		// kept is bounded while it is built. A reference takes a byte at least.
		fits = uint64(len(k.labels)) <= k.room
		return fits
	})
	switch {
	case !known:
		return errUnknownSeries
	case !fits:
		return ErrTooLarge
	}
	if matched {
		k.kept = append(k.kept, keptDataset{d, k.labels[first:len(k.labels):len(k.labels)]})
	}
	return nil
}

func (k *keeper) project(set []int32) {
	count := len(k.labels)
	k.labels = append(k.labels, 0)
	for _, name := range k.names {
		if value, present := valueOf(set, name); present {
			k.labels = append(k.labels, name, value)
			k.labels[count]++
		}
	}
}
