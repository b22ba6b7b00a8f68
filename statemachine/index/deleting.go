package index

import (
	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Owned calls fn for the index shards in a span that hold, or once held, data of
// a tenant: its own, and those of segments, until fn returns false. It writes
// what is pending first. fn may change the shards.
func (w *Writer) Owned(span *clusterv1.RangeRef, tenant string, fn func(ShardKey) (bool, error)) error {
	if err := w.Flush(); err != nil {
		return err
	}
	// Changes move the rows that are gone through.
	var found []ShardKey
	err := allOwned(w.tx, span.GetKeyspace(), tenant, func(row timelineRow) error {
		if span.Contains(row.shard.Point) {
			found = append(found, row.shard)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range found {
		if more, err := fn(key); err != nil || !more {
			return err
		}
	}
	return nil
}

// Segments tells whether the shard holds segments, which are of many tenants.
func (k ShardKey) Segments() bool { return k.segments() }

// Hide tells the writer what readers do not see, by tenant as in Query: segments
// that come or are filed anew do not make the tenant known again.
func (w *Writer) Hide(until map[string]uint64) {
	w.hidden = until
	for _, shard := range w.order {
		shard.hidden = until
	}
}

// Disown makes a shard of segments forget the datasets of a tenant that are
// hidden, at the index of the Raft entry that says so: if there are no others,
// the tenant is not listed any more, and its queries do not visit the shard. It
// reports whether anything changed.
func (w *Writer) Disown(key ShardKey, tenant string, entry uint64) (bool, error) {
	shard, err := w.open(key, entry)
	if err != nil {
		return false, err
	}
	changed, err := shard.disown(w.tx, tenant, entry)
	return changed, shard.wrap(err)
}

func (s *openShard) disown(tx *kv.Tx, tenant string, entry uint64) (bool, error) {
	if err := s.settle(); err != nil {
		return false, err
	}
	stored := s.bucket.Get(tenantKey(tenant))
	if stored == nil {
		return false, nil
	}
	before, err := decodeBounds(stored)
	if err != nil {
		return false, err
	}
	after, err := s.seen(tenant)
	if err != nil || after == before {
		return false, err
	}
	from := placeOf(before, s.live)
	s.record.Revision, s.dirty = entry, true
	if after == nothing {
		delete(s.writing.tenants, tenant)
		if err := s.bucket.Delete(tenantKey(tenant)); err != nil {
			return false, err
		}
		return true, moveInTimeline(tx, tenant, s.key, &from, nil)
	}
	s.writing.tenants[tenant] = after
	if err := s.bucket.Put(tenantKey(tenant), after.append(nil)); err != nil {
		return false, err
	}
	to := placeOf(after, s.live)
	return true, moveInTimeline(tx, tenant, s.key, &from, &to)
}

// seen returns the bounds of a tenant's datasets in segments that readers see,
// nothing if there are none.
func (s *openShard) seen(tenant string) (Bounds, error) {
	bounds, until := nothing, s.hidden[tenant]
	if until >= (s.key.Partition+PartitionSeconds)*1000 {
		return bounds, nil // no segment of the partition is younger
	}
	number := s.dictionary.terms(s.record).number(tenant)
	cursor := s.bucket.Cursor()
	for k, v := cursor.Seek(numberedKey(tagBlock, 0)); len(k) > 0 && k[0] == tagBlock; k, v = cursor.Next() {
		h, err := readHead(v)
		if err != nil {
			return bounds, err
		}
		if h.id.Time() <= until {
			continue
		}
		b, err := readBody(h)
		if err != nil {
			return bounds, err
		}
		for {
			d, more, err := b.next(h)
			if err != nil {
				return bounds, err
			}
			if !more {
				break
			}
			if d.tenant == number {
				bounds.widen(d.Bounds)
			}
		}
	}
	return bounds, nil
}

// Listed is a block of a shard.
type Listed struct {
	ID ulid.ULID
	// Compaction level.
	Level uint32
}

// List returns the blocks of a shard, in order of arrival.
func (w *Writer) List(key ShardKey) ([]Listed, error) {
	bucket := w.tx.BucketAt(rootName(key.Keyspace), key.encode())
	if bucket == nil {
		return nil, nil
	}
	var found []Listed
	cursor := bucket.Cursor()
	for k, v := cursor.Seek(numberedKey(tagBlock, 0)); len(k) > 0 && k[0] == tagBlock; k, v = cursor.Next() {
		level, id, err := levelOf(v)
		if err != nil {
			return nil, wrap(key, err)
		}
		found = append(found, Listed{id, level})
	}
	return found, nil
}

func levelOf(stored []byte) (uint32, ulid.ULID, error) {
	h, err := readHead(stored)
	if err != nil {
		return 0, h.id, err
	}
	b, err := readBody(h)
	if err != nil {
		return 0, h.id, err
	}
	var other metastorev1.BlockMeta
	err = other.UnmarshalVT(b.other)
	return other.GetCompactionLevel(), h.id, err
}

// hidden tells which datasets of a segment a reader must not see: those of
// tenants whose data was deleted after the segment was made.
type hidden map[int32]uint64

// hide translates moments by tenant for a shard of segments; others hide
// nothing.
func (s *shardView) hide(until map[string]uint64) hidden {
	if len(until) == 0 || !s.key.segments() {
		return nil
	}
	h := hidden{}
	for tenant, moment := range until {
		if number := s.terms.number(tenant); number != absent {
			h[number] = moment
		}
	}
	return h
}

func (h hidden) hides(block head, d dataset) bool {
	if h == nil {
		return false
	}
	until, deleted := h[d.tenant]
	return deleted && block.id.Time() <= until
}
