package index

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// frontier is where a query of a shard begins: at the nodes of the postings that are
// below no complete node, and at the blocks behind them. Most queries of a short time
// need to read nothing else of most shards, so it is kept with the shard's dictionary.
//
// It does not change. Within one beginning of a shard, nodes do not change either, and
// blocks may only go: a query looks for those that it finds here. But where one had
// gone already, a query of an older state must look for itself.
type frontier struct {
	// Blocks below are covered; those of the tail from first on.
	first, next uint32
	roots       []root
	// What a node would say of each block; nothing for one that had gone.
	tail []child
	// Revision of the shard in which gaps of the tail were found, 0 if there are none.
	gaps uint64
}

// root is a node without a complete parent; nothing if no block below has series.
type root struct {
	level  int
	number uint32
	Bounds
}

// covers tells whether a query of a state can use what was found in another.
func (f *frontier) covers(record Record) bool {
	return f != nil && f.first == firstOfTail(record) && f.next >= record.Next && f.gaps <= record.Revision
}

// firstOfTail is the number of the first block that is below no complete node.
func firstOfTail(record Record) uint32 { return record.Next / fanout * fanout }

// cost is about what it takes in memory.
func (f *frontier) cost() int {
	if f == nil {
		return 0
	}
	cost := 120 + 32*cap(f.roots)
	for i := range f.tail {
		cost += 40 + 4*cap(f.tail[i].series)
	}
	return cost
}

// readFrontier returns the shard's, whose terms must be known, and how many bytes were
// read for it.
func (s *shardView) readFrontier() (f *frontier, read int, err error) {
	kept := &s.terms.dictionary.frontier
	known := kept.Load()
	if known.covers(s.record) {
		return known, 0, nil
	}
	older := known != nil && (known.first > firstOfTail(s.record) || known.gaps > s.record.Revision)
	f = &frontier{first: firstOfTail(s.record), next: s.record.Next}
	if known != nil && !older && known.first == f.first {
		f.roots, f.tail, f.gaps = known.roots, slices.Clip(known.tail), known.gaps
	} else if read, err = s.readRoots(f, known); err != nil {
		return nil, read, err
	}
	more, err := s.readTail(f)
	if err == nil && !older {
		kept.CompareAndSwap(known, f) // another one is as good
	}
	return f, read + more, err
}

// readRoots finds the roots, of which some may be known.
func (s *shardView) readRoots(f, known *frontier) (read int, err error) {
	rows := newRowCursor(s.bucket)
	defer rows.cursor.Release()
	for level, done := postingsLevels-1, uint32(0); level >= 0; level-- {
		for size := span(level); f.next-done >= size; done += size {
			at := root{level: level, number: done / size, Bounds: nothing}
			if i := known.find(at.level, at.number); i >= 0 {
				f.roots = append(f.roots, known.roots[i])
				continue
			}
			if row := rows.get(postingsKey(tagPostings, level, at.number)); row != nil {
				if at.Bounds, err = boundsOfNode(row); err != nil {
					return read, err
				}
				read += boundsSize
			}
			f.roots = append(f.roots, at)
		}
	}
	return read, nil
}

// find returns the place of a root, -1 if it is none.
func (f *frontier) find(level int, number uint32) int {
	if f == nil {
		return -1
	}
	return slices.IndexFunc(f.roots, func(r root) bool { return r.level == level && r.number == number })
}

// readTail reads the blocks that the tail lacks.
func (s *shardView) readTail(f *frontier) (read int, err error) {
	from := f.first + uint32(len(f.tail))
	if from == f.next {
		return 0, nil
	}
	f.tail = append(f.tail, make([]child, f.next-from)...)
	found := uint32(0)
	cursor := s.bucket.LendingCursor()
	defer cursor.Release()
	for k, v := cursor.Seek(numberedKey(tagBlock, from)); len(k) > 0 && k[0] == tagBlock; k, v = cursor.Next() {
		if len(k) != 5 || binary.BigEndian.Uint32(k[1:]) >= f.next {
			return read, fmt.Errorf("%w: row %x, the next block is %d", errRecord, k, f.next)
		}
		h, err := readHead(v)
		if err != nil {
			return read, err
		}
		series, err := h.list()
		if err != nil {
			return read, err
		}
		f.tail[binary.BigEndian.Uint32(k[1:])-f.first] = child{h.Bounds, slices.Clip(series)}
		read += entryFixed + len(h.series)
		found++
	}
	if found < f.next-from {
		f.gaps = s.record.Revision
	}
	return read, nil
}
