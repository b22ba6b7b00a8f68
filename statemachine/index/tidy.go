package index

import (
	"encoding/binary"
	"fmt"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// A shard is renumbered when so many of its blocks are gone, at least three
// quarters, and no more than so many are left: its strings, series and
// postings are made anew for those. What that costs is paid by those that are
// gone; how long it takes is bounded.
const (
	renumberGone = 1024
	renumberLeft = 256
)

// tidy gives back what removed blocks left behind. It is decided at each
// removal, by the shard alone: every replica does it at the same entry.
func (s *openShard) tidy(entry uint64) error {
	left := s.record.Blocks
	gone := uint64(s.record.Next) - left
	switch {
	case left == 0 && s.key.outbox():
		return nil // what waited is elsewhere now, and the shard goes, too: see Tidy
	case left == 0:
		return s.renumber(entry, nil)
	case gone < renumberGone || gone < 3*left || left > renumberLeft:
		return nil
	}
	blocks, err := s.exportAll()
	if err != nil {
		return err
	}
	return s.renumber(entry, blocks)
}

// exportAll returns all blocks of the shard in the order of their numbers.
func (s *openShard) exportAll() ([][]byte, error) {
	x := newExporter(s.dictionary.terms(s.record))
	var blocks [][]byte
	cursor := s.bucket.Cursor()
	for k, v := cursor.Seek([]byte{tagBlock}); len(k) > 0 && k[0] == tagBlock; k, v = cursor.Next() {
		h, err := readHead(v)
		if err != nil {
			return nil, err
		}
		block, err := x.whole(h, nil)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, block)
	}
	if uint64(len(blocks)) != s.record.Blocks {
		return nil, fmt.Errorf("%w: %d blocks, the record says %d", errRecord, len(blocks), s.record.Blocks)
	}
	return blocks, nil
}

// renumber empties the shard, but for the bounds, and adds the blocks again.
func (s *openShard) renumber(entry uint64, blocks [][]byte) error {
	if err := s.settle(); err != nil {
		return err
	}
	bounds, err := settledTenants(s.bucket)
	if err != nil {
		return err
	}
	root := s.bucket.Tx().Bucket(rootName(s.key.Keyspace))
	if err := root.DeleteBucket(s.key.encode()); err != nil {
		return err
	}
	if s.bucket, err = root.CreateBucket(s.key.encode()); err != nil {
		return err
	}
	for _, t := range bounds {
		if err := s.bucket.Put(tenantKey(t.tenant), t.append(nil)); err != nil {
			return err
		}
	}
	s.restart(entry)
	for _, encoded := range blocks {
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded); err != nil {
			return err
		}
		id, err := metastorev1.ParseID(block.GetId())
		if err != nil {
			return err
		}
		if err := s.add(id, block, entry); err != nil {
			return err
		}
	}
	return s.settle()
}

// post adds a block to the postings: to those of the tail, which must be
// loaded, and, when these are complete, as nodes.
func (s *openShard) post(number uint32, c child) error {
	s.writing.tail = append(s.writing.tail, c)
	if len(s.writing.tail) < fanout {
		return nil
	}
	children, node := s.writing.tail, number/fanout
	s.writing.tail = make([]child, 0, fanout)
	for level := 0; level < postingsLevels; level++ {
		row, masks, all := encodeNode(children)
		if len(all.series) > 0 {
			if err := s.bucket.Put(postingsKey(tagPostings, level, node), row); err != nil {
				return err
			}
			if err := s.bucket.Put(postingsKey(tagMasks, level, node), masks); err != nil {
				return err
			}
		}
		if node%fanout != fanout-1 {
			return nil
		}
		children = make([]child, fanout)
		first := node - (fanout - 1)
		for i := range children {
			var err error
			if children[i], err = childOf(s.bucket, level, first+uint32(i)); err != nil {
				return err
			}
		}
		node /= fanout
	}
	return nil
}

// loadTail reads the blocks that are not below a node yet, unless they are
// known.
func (s *openShard) loadTail() error {
	if s.writing.tail != nil {
		return nil
	}
	first := s.record.Next / fanout * fanout
	tail := make([]child, s.record.Next-first, fanout)
	cursor := s.bucket.Cursor()
	for k, v := cursor.Seek(numberedKey(tagBlock, first)); len(k) > 0 && k[0] == tagBlock; k, v = cursor.Next() {
		h, err := readHead(v)
		if err != nil {
			return err
		}
		if len(k) != 5 || binary.BigEndian.Uint32(k[1:]) >= s.record.Next {
			return fmt.Errorf("%w: row %x, the next block is %d", errRecord, k, s.record.Next)
		}
		series, err := h.list()
		if err != nil {
			return err
		}
		tail[binary.BigEndian.Uint32(k[1:])-first] = child{h.Bounds, series}
	}
	s.writing.tail = tail
	return nil
}

// flush writes the record, and moves the shard and its tenants to their places
// in the timeline.
func (s *openShard) flush(tx *kv.Tx) error {
	if err := s.bucket.Put([]byte{tagRecord}, s.record.encode()); err != nil {
		return err
	}
	live := s.record.Blocks > 0
	to := placeOf(s.record.Bounds, live)
	if err := moveInTimeline(tx, s.key.Tenant, s.key, s.place, &to); err != nil {
		return err
	}
	if live != s.live && s.place != nil {
		// The tenants that did not move go along.
		tenants, err := settledTenants(s.bucket) // those that are not settled did move
		if err != nil {
			return err
		}
		for _, t := range tenants {
			if _, noted := s.moved[t.tenant]; !noted {
				from, to := placeOf(t.Bounds, s.live), placeOf(t.Bounds, live)
				if err := moveInTimeline(tx, t.tenant, s.key, &from, &to); err != nil {
					return err
				}
			}
		}
	}
	for _, tenant := range s.order {
		to := placeOf(s.writing.tenants[tenant], live)
		if err := moveInTimeline(tx, tenant, s.key, s.moved[tenant], &to); err != nil {
			return err
		}
	}
	s.place, s.live, s.order, s.dirty = &to, live, nil, false
	clear(s.moved)
	s.writing.record = s.record
	return nil
}

// leaveTimeline removes the rows of the shard and its tenants, as they were
// before this transaction.
func (s *openShard) leaveTimeline(tx *kv.Tx) error {
	if s.place == nil {
		return nil // never flushed
	}
	if err := s.settle(); err != nil {
		return err
	}
	tenants, err := settledTenants(s.bucket)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		from, noted := s.moved[t.tenant]
		if !noted {
			at := placeOf(t.Bounds, s.live)
			from = &at
		}
		if err := moveInTimeline(tx, t.tenant, s.key, from, nil); err != nil {
			return err
		}
	}
	return moveInTimeline(tx, s.key.Tenant, s.key, s.place, nil)
}
