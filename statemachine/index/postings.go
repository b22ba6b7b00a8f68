package index

import (
	"encoding/binary"
	"errors"
	"maps"
	"math/bits"
	"slices"

	"github.com/skerrydb/skerry/storage/kv"
)

// Postings lead from series to blocks. A node of level 0 stands for 64 blocks
// with consecutive numbers, a node of level n for 64 nodes of level n-1. For
// each series that occurs below it has a mask of the children that hold it: 64
// bits, so the tree is a bitmap per series that is cut where it is empty.
//
// A node has two rows. The first says what is below, and is all that is read of
// most nodes: bounds of each child, and the set of series. The second holds the
// masks, in the order of that set; where one is follows from the set.
//
//	min time (8) | max time (8) | children with series (8)
//	for each of them: min time, from the node's; max time, from its min time
//	for each 64 numbers that hold a series: difference to those before, set (8)
//
//	for each series its mask (8)
//
// A node is written once, when its last child is complete. Blocks that are not
// below a node yet, fewer than 64, are tested one by one (frontier). A node may name
// blocks that were removed since; it is gone when the shard is renumbered.
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

// word returns 64 numbers of the set, from 64 times its own number on.
func (s *seriesSet) word(number uint64) uint64 {
	if number >= uint64(len(s.bits)) {
		return 0
	}
	return s.bits[number]
}

// hasAny tells whether one of the numbers is in the set.
func (s *seriesSet) hasAny(numbers []int32) bool {
	for _, number := range numbers {
		if s.has(uint64(number)) {
			return true
		}
	}
	return false
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

// encodeNode makes the rows of a node, and what its parent will say about it.
// There are at most 64 children.
func encodeNode(children []child) (row, masks []byte, all child) {
	all = child{Bounds: nothing}
	present := uint64(0)
	for i, c := range children {
		if len(c.series) > 0 { // else nothing that a query could find
			all.widen(c.Bounds)
			present |= 1 << i
		}
	}
	row = all.append(make([]byte, 0, 1024))
	row = binary.LittleEndian.AppendUint64(row, present)
	for left := present; left != 0; left &= left - 1 {
		c := children[bits.TrailingZeros64(left)]
		row = binary.AppendUvarint(row, uint64(c.Min-all.Min))
		row = binary.AppendVarint(row, c.Max-c.Min)
	}

	words := map[int32]*word{}
	eachWord(children, words, func(w *word, number int32, _ int) { w.set |= 1 << (number % 64) })
	count, previous := 0, int32(0)
	for _, at := range slices.Sorted(maps.Keys(words)) {
		w := words[at]
		w.first = count
		count += bits.OnesCount64(w.set)
		row = appendNumber(row, at-previous)
		row = binary.LittleEndian.AppendUint64(row, w.set)
		previous = at
	}
	masks = make([]byte, 8*count)
	all.series = make([]int32, count)
	eachWord(children, words, func(w *word, number int32, i int) {
		place := w.place(number)
		masks[8*place+i/8] |= 1 << (i % 8)
		all.series[place] = number
	})
	return row, masks, all
}

// word is 64 numbers of a set, and the place of the first that is there.
type word struct {
	set   uint64
	first int
}

func (w *word) place(number int32) int {
	return w.first + bits.OnesCount64(w.set&(1<<(number%64)-1))
}

// eachWord calls fn for each series of each child, with its word. Children name
// many series of a word, one after the other.
func eachWord(children []child, words map[int32]*word, fn func(w *word, number int32, child int)) {
	for i, c := range children {
		var w *word
		at := int32(-1)
		for _, number := range c.series {
			if number/64 != at {
				at = number / 64
				if w = words[at]; w == nil {
					w = &word{}
					words[at] = w
				}
			}
			fn(w, number, i)
		}
	}
}

// posting is one series of a node: its place in the masks, and its mask once that
// was read.
type posting struct {
	number int32
	place  int
	mask   uint64
}

// node is what a node's first row says. It is for one query after the other:
// what it holds is valid until the next read.
type node struct {
	Bounds
	// The children that overlap the time that was asked for.
	children uint64
	// Those of the series wanted that are there, ascending.
	found []posting
	// Number of series that are there.
	count int
}

// read takes a row apart, for a time and a set of series.
func (n *node) read(row []byte, time Bounds, wanted *seriesSet) error {
	n.found, n.children, n.count = n.found[:0], 0, 0
	r := reader{rest: row}
	head := r.take(boundsSize + 8)
	if r.failed {
		return errPostings
	}
	var err error
	if n.Bounds, err = decodeBounds(head[:boundsSize]); err != nil {
		return err
	}
	if !n.overlaps(time) {
		return nil
	}
	for left := binary.LittleEndian.Uint64(head[boundsSize:]); left != 0; left &= left - 1 {
		var c Bounds
		c.Min = n.Min + int64(r.uvarint())
		c.Max = c.Min + r.varint()
		if c.overlaps(time) {
			n.children |= left & -left
		}
	}
	if n.children == 0 {
		return r.malformed()
	}
	for at := uint64(0); len(r.rest) > 0; {
		at += uint64(r.number())
		raw := r.take(8)
		if r.failed || at > maxWord {
			return errPostings
		}
		w := word{binary.LittleEndian.Uint64(raw), n.count}
		for both := w.set & wanted.word(at); both != 0; both &= both - 1 {
			number := int32(at*64) + int32(bits.TrailingZeros64(both))
			n.found = append(n.found, posting{number: number, place: w.place(number)})
		}
		n.count += bits.OnesCount64(w.set)
	}
	return r.malformed()
}

// maxWord is the last word of a set of numbers.
const maxWord = 1<<31/64 - 1

func (r *reader) malformed() error {
	if r.failed {
		return errPostings
	}
	return nil
}

// readMasks reads the masks of the series that were found, without children that
// do not overlap the time.
func (n *node) readMasks(shard *kv.Bucket, level int, number uint32) error {
	var err error = errPostings
	shard.Peek(postingsKey(tagMasks, level, number), func(masks []byte) {
		err = n.takeMasks(masks)
	})
	return err
}

func (n *node) takeMasks(masks []byte) error {
	if len(masks) != 8*n.count {
		return errPostings
	}
	for i := range n.found {
		p := &n.found[i]
		p.mask = binary.LittleEndian.Uint64(masks[8*p.place:]) & n.children
	}
	return nil
}

// mask returns the children that hold series that are still wanted.
func (n *node) mask(wanted *seriesSet) uint64 {
	all := uint64(0)
	for _, p := range n.found {
		if wanted.has(uint64(p.number)) {
			all |= p.mask
		}
	}
	return all
}

// boundsOfNode returns the bounds in a node's first row.
func boundsOfNode(row []byte) (Bounds, error) {
	if len(row) < boundsSize+8 {
		return Bounds{}, errPostings
	}
	return decodeBounds(row[:boundsSize])
}

// readAll returns a node's bounds and all its series.
func readAll(row []byte) (child, error) {
	var c child
	r := reader{rest: row}
	head := r.take(boundsSize + 8)
	if r.failed {
		return c, errPostings
	}
	var err error
	if c.Bounds, err = decodeBounds(head[:boundsSize]); err != nil {
		return c, err
	}
	for range bits.OnesCount64(binary.LittleEndian.Uint64(head[boundsSize:])) {
		r.uvarint()
		r.varint()
	}
	for at := uint64(0); len(r.rest) > 0; {
		at += uint64(r.number())
		raw := r.take(8)
		if r.failed || at > maxWord {
			return c, errPostings
		}
		for set := binary.LittleEndian.Uint64(raw); set != 0; set &= set - 1 {
			c.series = append(c.series, int32(at*64)+int32(bits.TrailingZeros64(set)))
		}
	}
	return c, r.malformed()
}

// childOf returns what the parent of a stored node says about it; nothing for
// a node without a row.
func childOf(shard *kv.Bucket, level int, number uint32) (child, error) {
	row := shard.Get(postingsKey(tagPostings, level, number))
	if row == nil {
		return child{Bounds: nothing}, nil
	}
	return readAll(row)
}
