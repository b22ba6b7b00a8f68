package index

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"

	"github.com/skerrydb/skerry/storage/kv"
)

// Postings lead from series to blocks. A node of level 0 stands for 64 blocks
// with consecutive numbers, a node of level n for 64 nodes of level n-1. Its
// row holds the bounds of all below, and for each series that occurs below,
// ascending, a mask of the children that hold it: 64 bits, so the tree is a
// bitmap per series that is cut where it is empty.
//
// A node is written once, when its last child is complete. Blocks that are not
// below a node yet, fewer than 64, are tested one by one. A node may name
// blocks that were removed since; it is gone when the shard is renumbered.
//
//	min time (8) | max time (8) | for each series: difference to the one before, mask (8)
const (
	fanout = 64
	// A node of level 5 would stand for more blocks than there are numbers.
	postingsLevels = 5
)

var errPostings = errors.New("index: malformed postings")

// seriesSet is a set of series numbers.
type seriesSet struct {
	bits  []uint64
	count int
}

func newSeriesSet(capacity int) *seriesSet {
	return &seriesSet{bits: make([]uint64, (capacity+63)/64)}
}

func (s *seriesSet) has(number uint64) bool {
	return number/64 < uint64(len(s.bits)) && s.bits[number/64]&(1<<(number%64)) != 0
}

func (s *seriesSet) add(number int32) {
	if !s.has(uint64(number)) {
		s.bits[number/64] |= 1 << (number % 64)
		s.count++
	}
}

func (s *seriesSet) remove(number int32) {
	if s.has(uint64(number)) {
		s.bits[number/64] &^= 1 << (number % 64)
		s.count--
	}
}

// each calls fn for the numbers, ascending.
func (s *seriesSet) each(fn func(number int32)) {
	for word, set := range s.bits {
		for ; set != 0; set &= set - 1 {
			fn(int32(word*64 + bits.TrailingZeros64(set)))
		}
	}
}

// child is what a node says about one of its children.
type child struct {
	Bounds
	series []int32 // ascending
}

// encodeNode makes the row of a node, and what its parent will say about it.
func encodeNode(children []child) ([]byte, child) {
	masks := map[int32]uint64{}
	all := child{Bounds: nothing}
	for i, c := range children {
		if len(c.series) == 0 {
			continue // nothing that a query could find
		}
		all.widen(c.Bounds)
		for _, number := range c.series {
			masks[number] |= 1 << i
		}
	}
	for number := range masks {
		all.series = append(all.series, number)
	}
	slices.Sort(all.series)
	row := make([]byte, 0, boundsSize+10*len(all.series))
	row = all.append(row)
	previous := int32(0)
	for _, number := range all.series {
		row = appendNumber(row, number-previous)
		row = binary.LittleEndian.AppendUint64(row, masks[number])
		previous = number
	}
	return row, all
}

// posting is one series of a node.
type posting struct {
	number int32
	mask   uint64
}

// readNode returns a node's bounds, and its postings of the series that want
// accepts.
func readNode(row []byte, want func(number int32) bool) (Bounds, []posting, error) {
	if len(row) < boundsSize {
		return Bounds{}, nil, errPostings
	}
	bounds, err := decodeBounds(row[:boundsSize])
	if err != nil {
		return Bounds{}, nil, err
	}
	var found []posting
	number := int32(0)
	r := reader{rest: row[boundsSize:]}
	for len(r.rest) > 0 {
		number += r.number()
		mask := r.take(8)
		if r.failed {
			break
		}
		if want(number) {
			found = append(found, posting{number, binary.LittleEndian.Uint64(mask)})
		}
	}
	if r.failed {
		return Bounds{}, nil, errPostings
	}
	return bounds, found, nil
}

// childOf returns what the parent of a stored node says about it; nothing for
// a node without a row.
func childOf(shard *kv.Bucket, level int, number uint32) (child, error) {
	row := shard.Get(postingsKey(level, number))
	if row == nil {
		return child{Bounds: nothing}, nil
	}
	bounds, found, err := readNode(row, func(int32) bool { return true })
	c := child{Bounds: bounds, series: make([]int32, len(found))}
	for i, p := range found {
		c.series[i] = p.number
	}
	return c, err
}
