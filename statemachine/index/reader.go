package index

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Reader reads the index in one transaction: everything it returns is of one
// state.
type Reader struct {
	tx    *kv.Tx
	cache *GroupCache
}

// NewReader returns a reader; the transaction must outlive it. The cache must
// be that of the group's writer.
func NewReader(tx *kv.Tx, cache *GroupCache) Reader { return Reader{tx, cache} }

// contextInterval is the number of rows between two looks at the context.
const contextInterval = 256

// ErrTooLarge means that an answer exceeds the size that the caller allows.
var ErrTooLarge = errors.New("the answer is too large")

// shardView is one index shard under the reader's transaction.
type shardView struct {
	key    ShardKey
	bucket *kv.Bucket
	record Record
	terms  terms
	// Of who searches it.
	frontier *frontier
}

func (s *shardView) wrap(err error) error { return wrap(s.key, err) }

// open reads a shard's record; nil if there is no such shard.
func (r Reader) open(key ShardKey) (*shardView, error) {
	bucket := r.tx.BucketAt(rootName(key.Keyspace), key.encode())
	if bucket == nil {
		return nil, nil
	}
	shard := &shardView{key: key, bucket: bucket}
	err := errRecord
	bucket.Peek([]byte{tagRecord}, func(stored []byte) {
		shard.record, err = DecodeRecord(stored)
	})
	return shard, shard.wrap(err)
}

// learn gets the shard's strings and series, and returns the number of bytes
// read for it.
func (r Reader) learn(s *shardView) (int, error) {
	name := shardName(s.key)
	d := r.cache.dictionary(name, s.record.Born)
	rows := newRowCursor(s.bucket)
	defer rows.cursor.Release()
	read, err := d.extend(rows, s.record)
	if err != nil {
		return read, s.wrap(err)
	}
	if read > 0 {
		r.cache.grown(name, d)
	}
	s.terms = d.terms(s.record)
	return read, nil
}

// begin gets what a search of the shard, whose terms are known, begins with, and
// returns the number of bytes read for it.
func (r Reader) begin(s *shardView) (read int, err error) {
	if s.frontier, read, err = s.readFrontier(); err != nil {
		return read, s.wrap(err)
	}
	if read > 0 {
		r.cache.grown(shardName(s.key), s.terms.dictionary)
	}
	return read, nil
}

// Entries calls fn with the entries of one tenant and data shard, as they were
// added, encoded as metastore.v1.BlockMeta, in the order of the ids; ids that
// are not there are left out. A shard's strings are read once, however many of
// its blocks are asked for. What is hidden, by tenant as in Query, is left out of
// segments: who compacts them leaves it behind.
func (r Reader) Entries(ctx context.Context, tenant string, shardNumber uint32, ids []ulid.ULID, hidden map[string]uint64, fn func([]byte) error) error {
	return r.entries(ctx, ids, hidden, func(id ulid.ULID) ShardKey { return KeyOf(id, tenant, shardNumber) }, fn)
}

// OutboxEntries is Entries for a tenant's blocks that wait in the outbox of a
// stream.
func (r Reader) OutboxEntries(ctx context.Context, tenant string, shardNumber uint32, ids []ulid.ULID, fn func([]byte) error) error {
	return r.entries(ctx, ids, nil, func(id ulid.ULID) ShardKey { return OutboxKey(id, tenant, shardNumber) }, fn)
}

func (r Reader) entries(ctx context.Context, ids []ulid.ULID, hidden map[string]uint64, keyOf func(ulid.ULID) ShardKey, fn func([]byte) error) error {
	opened := map[uint64]*exportView{} // by partition; nil for those that do not exist
	for i, id := range ids {
		if i%contextInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key := keyOf(id)
		shard, ok := opened[key.Partition]
		if !ok {
			var err error
			if shard, err = r.openExport(key, hidden); err != nil {
				return err
			}
			opened[key.Partition] = shard
		}
		if shard == nil {
			continue
		}
		encoded, err := shard.byID(id)
		if err != nil {
			return shard.wrap(err)
		}
		if encoded == nil {
			continue
		}
		if err := fn(encoded); err != nil {
			return err
		}
	}
	return nil
}

// exportView is a shard whose blocks are exported.
type exportView struct {
	*shardView
	*exporter
	hidden hidden
}

func (r Reader) openExport(key ShardKey, until map[string]uint64) (*exportView, error) {
	shard, err := r.open(key)
	if shard == nil || err != nil {
		return nil, err
	}
	if _, err := r.learn(shard); err != nil {
		return nil, err
	}
	return &exportView{shard, newExporter(shard.terms), shard.hide(until)}, nil
}

// byID returns a block's encoded metadata, nil if it is not there.
func (s *exportView) byID(id ulid.ULID) ([]byte, error) {
	number := s.bucket.Get(idKey(id))
	if number == nil {
		return nil, nil
	}
	if len(number) != 4 {
		return nil, fmt.Errorf("%w %s: the number", errEntry, id)
	}
	stored := s.bucket.Get(numberedKey(tagBlock, binary.BigEndian.Uint32(number)))
	if stored == nil {
		return nil, fmt.Errorf("%w %s: no block has its number", errEntry, id)
	}
	h, err := readHead(stored)
	if err == nil && h.id != id {
		err = fmt.Errorf("%w %s: its number is that of %s", errEntry, id, h.id)
	}
	if err != nil {
		return nil, err
	}
	return s.whole(h, s.hidden)
}

// Tenants returns the tenants that have data in the spans, sorted: owners of
// tenant blocks, and owners of datasets in anonymous segments.
func (r Reader) Tenants(ctx context.Context, spans []*clusterv1.RangeRef) ([]string, error) {
	var found []string
	for _, span := range spans {
		err := owners(r.tx, span, func(owner string) error {
			if owner != "" {
				found = append(found, owner)
			}
			if len(found)%contextInterval == 0 {
				return ctx.Err()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// TenantBounds returns the data time bounds of a tenant in the spans, of tenant
// blocks and of datasets in anonymous segments alike; the empty tenant stands
// for the segments as such. It reports false if there is no data.
func (r Reader) TenantBounds(ctx context.Context, spans []*clusterv1.RangeRef, tenant string) (Bounds, bool, error) {
	var rows []timelineRow
	for _, span := range spans {
		if !mayHold(span, tenant) {
			continue
		}
		err := allOwned(r.tx, span.GetKeyspace(), tenant, func(row timelineRow) error {
			if span.Contains(row.shard.Point) {
				rows = append(rows, row)
			}
			if len(rows)%contextInterval == 0 {
				return ctx.Err()
			}
			return nil
		})
		if err != nil {
			return Bounds{}, false, err
		}
	}
	if len(rows) == 0 {
		return Bounds{}, false, nil
	}
	bounds, err := r.extremes(rows, tenant)
	return bounds, true, err
}

// extremes returns the exact bounds over the rows. The timeline knows them to a
// quantum or a window; only shards that may hold the least or the greatest are
// read.
func (r Reader) extremes(rows []timelineRow, tenant string) (Bounds, error) {
	bounds := nothing
	slices.SortFunc(rows, func(a, b timelineRow) int { return cmp.Compare(a.start, b.start) })
	for _, row := range rows {
		if row.start > bounds.Min {
			break
		}
		exact, err := r.exact(row, tenant)
		if err != nil {
			return Bounds{}, err
		}
		bounds.widen(exact)
	}
	slices.SortFunc(rows, func(a, b timelineRow) int { return cmp.Compare(b.end(), a.end()) })
	for _, row := range rows {
		if row.end() < bounds.Max {
			break
		}
		exact, err := r.exact(row, tenant)
		if err != nil {
			return Bounds{}, err
		}
		bounds.widen(exact)
	}
	return bounds, nil
}

// end is a time that no data of the row lies behind.
func (row timelineRow) end() int64 {
	if row.level == dormant {
		return math.MaxInt64
	}
	length := window(int(row.level))
	if uint64(math.MaxInt64)-uint64(row.start) < length {
		return math.MaxInt64
	}
	return int64(uint64(row.start) + length)
}

// exact reads the bounds of an owner's data in a shard.
func (r Reader) exact(row timelineRow, owner string) (Bounds, error) {
	shard, err := r.open(row.shard)
	if err != nil {
		return Bounds{}, err
	}
	if shard == nil {
		return Bounds{}, wrap(row.shard, errRecord)
	}
	if owner == row.shard.Tenant {
		return shard.record.Bounds, nil
	}
	bounds, err := r.boundsOf(shard, owner)
	return bounds, shard.wrap(err)
}

// boundsOf returns the bounds of a tenant's datasets in a shard of segments.
func (r Reader) boundsOf(s *shardView, tenant string) (Bounds, error) {
	bounds, known := nothing, false
	if stored := s.bucket.Get(tenantKey(tenant)); stored != nil {
		var err error
		if bounds, err = decodeBounds(stored); err != nil {
			return Bounds{}, err
		}
		known = true
	}
	if s.record.Settled < s.record.Next {
		if _, err := r.learn(s); err != nil {
			return Bounds{}, err
		}
		pending, err := unsettled(s.bucket, s.terms, s.record)
		if err != nil {
			return Bounds{}, err
		}
		for _, p := range pending {
			if p.tenant == tenant {
				bounds.widen(p.Bounds)
				known = true
			}
		}
	}
	if !known {
		return Bounds{}, errRecord // the timeline knows a tenant that is not there
	}
	return bounds, nil
}

// mayHold tells whether a span can hold shards of an owner.
func mayHold(span *clusterv1.RangeRef, owner string) bool {
	if span.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
		return true
	}
	if owner == "" {
		return false
	}
	lo, hi := clusterv1.TenantSpan(owner)
	return (span.GetHi() == 0 || lo < span.GetHi()) && (hi == 0 || span.GetLo() < hi)
}
