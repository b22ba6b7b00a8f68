package index

import (
	"math"
	"slices"
)

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

// decode appends a chunk of series: of each the number of its references, which is
// even, its tenant, its references, all of them to one of so many strings. If the
// chunk is anything else it reports false and appends nothing. A search of a week
// that finds nothing cached decodes half a million.
func (l *seriesList) decode(chunk []byte, strings int) bool {
	refs, ends := l.refs, l.ends
	r := reader{rest: chunk}
	for len(r.rest) > 0 {
		n := r.uvarint()
		if r.failed || n%2 != 0 || n >= uint64(len(r.rest)) {
			return false
		}
		for range n + 1 {
			var ref uint64
			if len(r.rest) > 0 && r.rest[0] < 0x80 { // as uvarint has it, but without a call
				ref, r.rest = uint64(r.rest[0]), r.rest[1:]
			} else if ref = r.uvarint(); r.failed {
				return false
			}
			if ref >= uint64(strings) {
				return false
			}
			refs = append(refs, int32(ref))
		}
		if uint64(len(refs)) > math.MaxUint32 {
			return false
		}
		ends = append(ends, uint32(len(refs)))
	}
	if len(ends) == len(l.ends) {
		return false
	}
	l.refs, l.ends = refs, ends
	return true
}

// expectMax bounds what room is made for at once: a record may be damaged.
const expectMax = 4096

// expect makes room for so many series, as long as those that are there.
func (l *seriesList) expect(all int) {
	if n := len(l.ends); n > 0 && n < all {
		more := min(all-n, expectMax)
		l.ends = slices.Grow(l.ends, more)
		l.refs = slices.Grow(l.refs, len(l.refs)/n*more)
	}
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
