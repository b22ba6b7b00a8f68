package index

import (
	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Owned lists the index shards in a span that hold, or once held, data of a
// tenant, at most limit: its own, and those of segments. It writes what is
// pending first.
func (w *Writer) Owned(span *clusterv1.RangeRef, tenant string, limit int) ([]ShardKey, error) {
	if err := w.Flush(); err != nil {
		return nil, err
	}
	var found []ShardKey
	err := allOwned(w.tx, span.GetKeyspace(), tenant, func(row timelineRow) error {
		if span.Contains(row.shard.Point) && len(found) < limit {
			found = append(found, row.shard)
		}
		return nil
	})
	return found, err
}

// Segments tells whether the shard holds segments, which are of many tenants.
func (k ShardKey) Segments() bool { return k.segments() }

// Disown makes a shard of segments forget that it holds data of a tenant, at the
// index of the Raft entry that says so: the tenant is not listed any more, and
// its queries do not visit the shard, until it comes with new data.
func (w *Writer) Disown(key ShardKey, tenant string, entry uint64) error {
	shard, err := w.open(key, entry)
	if err != nil {
		return err
	}
	return shard.wrap(shard.disown(w.tx, tenant, entry))
}

func (s *openShard) disown(tx *kv.Tx, tenant string, entry uint64) error {
	stored := s.bucket.Get(tenantKey(tenant))
	if stored == nil {
		return nil
	}
	bounds, err := decodeBounds(stored)
	if err != nil {
		return err
	}
	at := placeOf(bounds, s.live)
	if err := moveInTimeline(tx, tenant, s.key, &at, nil); err != nil {
		return err
	}
	delete(s.writing.tenants, tenant)
	s.record.Revision, s.dirty = entry, true
	return s.bucket.Delete(tenantKey(tenant))
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
