package index

// setReader walks flattened label sets: a count, then count pairs of string
// references (name, value).
type setReader struct{ rest []int32 }

func labelSets(flat []int32) setReader { return setReader{flat} }

// next returns the references of the next set; they alias the flattened list.
// A set that runs past the end, or has a negative count, ends the walk.
func (r *setReader) next() ([]int32, bool) {
	if len(r.rest) == 0 {
		return nil, false
	}
	pairs := int64(r.rest[0])
	if pairs < 0 || 2*pairs > int64(len(r.rest)-1) {
		return nil, false
	}
	set := r.rest[1 : 1+2*pairs : 1+2*pairs]
	r.rest = r.rest[1+2*pairs:]
	return set, true
}

// valueOf returns the value of a name's first occurrence in a set.
func valueOf(set []int32, name int32) (int32, bool) {
	for i := 0; i+1 < len(set); i += 2 {
		if set[i] == name {
			return set[i+1], true
		}
	}
	return 0, false
}
