package index

// series is a label set of a tenant: pairs of references (name, value) in the
// order they came in. Blocks hold the same sets again and again.
type series struct {
	tenant int32
	set    []int32
}

// seriesList is series by number, each its tenant and its set, one behind the
// other: there are many, of many shards. It only grows, so a copy is the list as
// it was.
type seriesList struct {
	refs []int32
	// Where each ends in refs.
	ends []uint32
}

func (l *seriesList) add(s series) {
	l.refs = append(append(l.refs, s.tenant), s.set...)
	l.ends = append(l.ends, uint32(len(l.refs)))
}

func (l seriesList) len() int { return len(l.ends) }

// first returns the list when it had so many.
func (l seriesList) first(count uint32) seriesList { return seriesList{l.refs, l.ends[:count]} }

func (l seriesList) begin(number int32) uint32 {
	if number == 0 {
		return 0
	}
	return l.ends[number-1]
}

func (l seriesList) tenant(number int32) int32 { return l.refs[l.begin(number)] }

func (l seriesList) set(number int32) []int32 {
	return l.refs[l.begin(number)+1 : l.ends[number] : l.ends[number]]
}

func (l seriesList) at(number int32) series { return series{l.tenant(number), l.set(number)} }

// bytes is about what the list takes in memory.
func (l seriesList) bytes() int { return 4 * (cap(l.refs) + cap(l.ends)) }
