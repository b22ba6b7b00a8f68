package index

import (
	"context"
	"encoding/binary"
	"math/bits"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// search finds the blocks of a shard that hold wanted series at a time. If it
// shrinks, the caller may take series out of wanted while it runs; it ends when
// none is left.
type search struct {
	shard  *shardView
	time   Bounds
	wanted *seriesSet
	// Whether found takes series out of wanted.
	shrinks bool
	cost    *nodev1.QueryCost

	ctx     context.Context
	found   func(head) error
	nodes   *rowCursor
	level   [postingsLevels]node
	entries entryCursor
}

// run calls found for each block, in no particular order, until the context
// ends.
func (s *search) run(ctx context.Context, found func(head) error) error {
	s.ctx, s.found = ctx, found
	s.nodes = newRowCursor(s.shard.bucket)
	s.entries = entryCursor{cursor: s.shard.bucket.LendingCursor()}
	defer s.nodes.cursor.Release()
	defer s.entries.cursor.Release()
	begin := s.shard.frontier
	for _, root := range begin.roots {
		if !root.overlaps(s.time) {
			continue
		}
		if err := s.node(root.level, root.number); err != nil {
			return err
		}
	}
	for i, block := range begin.tail[:s.shard.record.Next-begin.first] {
		if s.wanted.count == 0 {
			break
		}
		if !block.overlaps(s.time) || !s.wanted.hasAny(block.series) {
			continue
		}
		if err := s.candidate(begin.first + uint32(i)); err != nil {
			return err
		}
	}
	return nil
}

// span is the number of blocks below a node.
func span(level int) uint32 { return 1 << (6 * (level + 1)) }

// node visits what a node of the postings leads to.
func (s *search) node(level int, number uint32) error {
	if s.wanted.count == 0 {
		return nil
	}
	row := s.nodes.get(postingsKey(tagPostings, level, number))
	if row == nil {
		return nil
	}
	n := &s.level[level]
	if err := n.read(row, s.time, s.wanted); err != nil {
		return err
	}
	if len(n.found) == 0 {
		return nil
	}
	if err := n.readMasks(s.shard.bucket, level, number); err != nil {
		return err
	}
	var err error
	for children := n.mask(s.wanted); children != 0; {
		bit := bits.TrailingZeros64(children)
		below := number*fanout + uint32(bit)
		if level > 0 {
			err = s.node(level-1, below)
		} else {
			err = s.candidate(below)
		}
		if err != nil {
			return err
		}
		// What was found meanwhile is not wanted any more.
		if children &^= 1 << bit; s.shrinks {
			children &= n.mask(s.wanted)
		}
	}
	return nil
}

// candidate tests a block that the postings or the frontier name. It may be gone.
func (s *search) candidate(number uint32) error {
	at, stored := s.entries.seek(number)
	if stored == nil || at != number {
		return nil
	}
	return s.test(stored)
}

func (s *search) test(stored []byte) error {
	if s.cost.BlocksTested++; s.cost.BlocksTested%contextInterval == 0 {
		if err := s.ctx.Err(); err != nil {
			return err
		}
	}
	h, err := readHead(stored)
	if err != nil {
		return err
	}
	if !h.overlaps(s.time) {
		return nil
	}
	s.cost.BlocksDecoded++
	return s.found(h)
}

// entryCursor goes through a shard's entries, steps over short gaps and seeks
// over long ones.
type entryCursor struct {
	cursor *kv.Cursor
	placed bool
	number uint32
	stored []byte
}

// stepsPerSeek is the number of steps that cost as much as a seek.
const stepsPerSeek = 4

// seek returns the entry with the number, or the next one there is; nil at the
// end. Numbers must ascend.
func (c *entryCursor) seek(number uint32) (uint32, []byte) {
	for step := 0; c.placed && c.stored != nil && c.number < number && step < stepsPerSeek; step++ {
		c.next()
	}
	if !c.placed || c.stored != nil && c.number < number {
		c.placed = true
		c.take(c.cursor.Seek(numberedKey(tagBlock, number)))
	}
	return c.number, c.stored
}

func (c *entryCursor) next() (uint32, []byte) {
	c.take(c.cursor.Next())
	return c.number, c.stored
}

func (c *entryCursor) take(key, value []byte) {
	c.number, c.stored = 0, nil
	if len(key) == 5 && key[0] == tagBlock {
		c.number, c.stored = binary.BigEndian.Uint32(key[1:]), value
	}
}
