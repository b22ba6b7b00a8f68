package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Check walks the whole index and compares what is derived with what it is
// derived from. It calls report for each fault, and returns an error only if
// the context ends.
//
// Faults are told apart by the invariant that they break: every block has one
// id row and every id row its block (ids); records count what is there
// (counts) and bound it (bounds); entries refer to known strings and series
// (references); postings lead to every block below them (postings); the
// timeline has one row for each owner of a shard, at its place, and no others
// (timeline); partitions list their shards (partitions).
func Check(ctx context.Context, tx *kv.Tx, report func(fault error)) error {
	for _, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.Keyspace_KEYSPACE_STREAM} {
		c := checker{keyspace: keyspace, report: report, places: map[string]struct{}{}}
		if err := c.shards(ctx, tx); err != nil {
			return err
		}
		if err := c.timeline(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	keyspace clusterv1.Keyspace
	report   func(error)
	// Keys that the timeline must have.
	places map[string]struct{}
}

func (c *checker) fault(key ShardKey, invariant, format string, args ...any) {
	c.report(wrap(key, fmt.Errorf("%s: %w", invariant, fmt.Errorf(format, args...))))
}

func (c *checker) shards(ctx context.Context, tx *kv.Tx) error {
	root := tx.Bucket(rootName(c.keyspace))
	if root == nil {
		return nil
	}
	return root.ForEachBucket(func(name []byte) error {
		key, err := decodeShardKey(c.keyspace, name)
		if err != nil {
			c.report(fmt.Errorf("shard %x: %w", name, err))
			return ctx.Err()
		}
		bucket := root.Bucket(name)
		s := &shardView{key: key, bucket: bucket}
		rows := newRowCursor(bucket)
		if s.record, err = DecodeRecord(rows.get([]byte{tagRecord})); err != nil {
			c.fault(key, "counts", "%w", err)
			return ctx.Err()
		}
		d := newDictionary(s.record.Born)
		if _, err := d.extend(rows, s.record); err != nil {
			c.fault(key, "references", "%w", err)
			return ctx.Err()
		}
		s.terms = d.terms(s.record)
		c.blocks(s)
		c.owners(s)
		c.listed(tx, s)
		return ctx.Err()
	})
}

// blocks checks a shard's entries, ids and postings.
func (c *checker) blocks(s *shardView) {
	x := newExporter(s.terms)
	var blocks, ids uint64
	cursor := s.bucket.Cursor()
	for k, v := cursor.Seek([]byte{tagBlock}); len(k) == 5 && k[0] == tagBlock; k, v = cursor.Next() {
		blocks++
		number := binary.BigEndian.Uint32(k[1:])
		h, err := readHead(v)
		if err == nil {
			_, err = x.whole(h, nil)
		}
		if err != nil {
			c.fault(s.key, "references", "block %d: %w", number, err)
			continue
		}
		if number >= s.record.Next {
			c.fault(s.key, "counts", "block %d, the record says that the next is %d", number, s.record.Next)
		}
		if !bytes.Equal(s.bucket.Get(idKey(h.id)), k[1:]) {
			c.fault(s.key, "ids", "block %d is %s, whose id row says %x", number, h.id, s.bucket.Get(idKey(h.id)))
		}
		if PartitionOf(h.id) != s.key.Partition {
			c.fault(s.key, "ids", "block %s belongs elsewhere", h.id)
		}
		if h.Min < s.record.Min || h.Max > s.record.Max {
			c.fault(s.key, "bounds", "block %s of %d..%d, the shard has %d..%d", h.id, h.Min, h.Max, s.record.Min, s.record.Max)
		}
		c.postings(s, h, number)
	}
	for k, _ := cursor.Seek([]byte{tagID}); len(k) > 0 && k[0] == tagID; k, _ = cursor.Next() {
		ids++
	}
	if blocks != s.record.Blocks || ids != blocks {
		c.fault(s.key, "counts", "%d blocks and %d ids, the record says %d", blocks, ids, s.record.Blocks)
	}
}

// postings checks that every complete node above a block leads to it, whichever
// of its series and whatever part of its time is asked for.
func (c *checker) postings(s *shardView, h head, number uint32) {
	series, err := h.list()
	if err != nil {
		c.fault(s.key, "references", "%w", err)
		return
	}
	wanted := newSeriesSet(s.terms.series.len())
	for _, number := range series {
		wanted.add(number)
	}
	whole := Bounds{Min: h.Max, Max: h.Min} // what overlaps that holds all of the block's
	for level := range postingsLevels {
		at := number / span(level)
		if len(series) == 0 || uint64(at+1)*uint64(span(level)) > uint64(s.record.Next) {
			return
		}
		var n node
		err := n.read(s.bucket.Get(postingsKey(tagPostings, level, at)), whole, wanted)
		if err == nil && len(n.found) > 0 {
			err = n.readMasks(s.bucket, level, at)
		}
		if err != nil {
			c.fault(s.key, "postings", "level %d, node %d: %w", level, at, err)
			return
		}
		held := 0
		for _, p := range n.found {
			if p.mask&(1<<(number/(span(level)/fanout)%fanout)) != 0 {
				held++
			}
		}
		if held != len(series) {
			c.fault(s.key, "postings", "level %d, node %d does not lead to block %s", level, at, h.id)
		}
	}
}

// owners notes where the timeline must have the shard.
func (c *checker) owners(s *shardView) {
	live := s.record.Blocks > 0
	c.places[string(timelineKey(s.key.Tenant, placeOf(s.record.Bounds, live), s.key))] = struct{}{}
	tenants, err := allTenants(s.bucket, s.terms, s.record)
	if err != nil {
		c.fault(s.key, "bounds", "tenants: %w", err)
	}
	for _, t := range tenants {
		c.places[string(timelineKey(t.tenant, placeOf(t.Bounds, live), s.key))] = struct{}{}
	}
}

// listed checks that the shard is in the list of its partition.
func (c *checker) listed(tx *kv.Tx, s *shardView) {
	if s.key.outbox() {
		return
	}
	if list := tx.Bucket(partitionsName); list == nil || list.Get(partitionKey(s.key)) == nil {
		c.fault(s.key, "partitions", "it is not in the list of its partition")
	}
}

func (c *checker) timeline(ctx context.Context, tx *kv.Tx) error {
	if rows := tx.Bucket(timelineName(c.keyspace)); rows != nil {
		err := rows.ForEach(func(key, _ []byte) error {
			if _, expected := c.places[string(key)]; !expected {
				text, shard, _ := describeTimeline(c.keyspace, key)
				c.report(fmt.Errorf("timeline: row %x (%s, %s) belongs to no shard", key, text, shard))
			}
			delete(c.places, string(key))
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.places)) {
		text, shard, _ := describeTimeline(c.keyspace, []byte(key))
		c.report(fmt.Errorf("timeline: no row %x (%s, %s)", key, text, shard))
	}
	return nil
}

// Waiting calls fn for each block that is filed under an OutboxKey.
func Waiting(ctx context.Context, tx *kv.Tx, fn func(stream uint32, tenant string, id ulid.ULID)) error {
	root := tx.Bucket(rootName(clusterv1.Keyspace_KEYSPACE_STREAM))
	if root == nil {
		return nil
	}
	return root.ForEachBucket(func(name []byte) error {
		key, err := decodeShardKey(clusterv1.Keyspace_KEYSPACE_STREAM, name)
		if err != nil || !key.outbox() {
			return ctx.Err()
		}
		cursor := root.Bucket(name).Cursor()
		for k, _ := cursor.Seek([]byte{tagID}); len(k) == 1+16 && k[0] == tagID; k, _ = cursor.Next() {
			fn(key.Shard, key.Tenant, ulid.ULID(k[1:]))
		}
		return ctx.Err()
	})
}
