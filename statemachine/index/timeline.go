package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// The timeline tells which index shards hold data of an owner at a time. The
// owner of a tenant's shard is the tenant; a shard of segments has a row for
// each tenant that has datasets in it, and one for the segments as such, under
// the empty tenant.
//
// A row's key is
//
//	tenant span (8) | length, tenant | level (1) | start (8) | point (8) | partition (8) | shard (4) | kind (1)
//
// and it has no value. The kind tells, in streams, the tenant's own blocks, which
// wait in the outbox, from segments; there is none among tenants. The span makes the rows of a range of tenants
// contiguous. The interval of the shard's data begins in the quarter of an hour
// that starts at start, and ends less than window(level) later: intervals of
// about the same length share a level. So those that overlap a query begin
// within one window before it, and finding them is one seek and one scan for
// each level that the owner has, however many shards there are at other times.
// Windows grow fourfold, so at least about a fifth of what is scanned overlaps.
//
// Shards without blocks are kept at the level dormant: no query reads them,
// but they count for the owner's statistics until they are dropped.

const (
	timelineQuantum = 15 * 60 * 1000 // milliseconds
	dormant         = 0xff
	maxLevel        = 23
)

// window is the length of a level's intervals, milliseconds.
func window(level int) uint64 {
	high, low := bits.Mul64(timelineQuantum, 1<<(2*min(level, 31)))
	if high > 0 {
		return math.MaxUint64
	}
	return low
}

// place is where an interval lies in the timeline.
type place struct {
	level byte
	start int64
}

func placeOf(bounds Bounds, live bool) place {
	start := floor(bounds.Min)
	if !live {
		return place{dormant, start}
	}
	var length uint64
	if bounds.Max > start {
		length = uint64(bounds.Max) - uint64(start)
	}
	level := 0
	for level < maxLevel && length >= window(level) {
		level++
	}
	return place{byte(level), start}
}

func floor(at int64) int64 {
	down := at % timelineQuantum
	if down < 0 {
		down += timelineQuantum
	}
	if at < math.MinInt64+down {
		return math.MinInt64
	}
	return at - down
}

func timelineName(keyspace clusterv1.Keyspace) []byte {
	return append(rootName(keyspace), "-timeline"...)
}

func ownerKey(owner string) []byte {
	span, _ := clusterv1.TenantSpan(owner)
	key := binary.BigEndian.AppendUint64(make([]byte, 0, 64+len(owner)), span)
	return appendBytes(key, []byte(owner))
}

func (p place) append(to []byte) []byte {
	to = append(to, p.level)
	return binary.BigEndian.AppendUint64(to, uint64(p.start)^(1<<63))
}

const placeSize = 1 + 8

// Kinds of a stream's rows.
const (
	kindSegments = 0
	kindOutbox   = 1
)

func timelineKey(owner string, p place, shard ShardKey) []byte {
	key := shard.appendFixed(p.append(ownerKey(owner)))
	switch {
	case shard.outbox():
		key = append(key, kindOutbox)
	case shard.segments():
		key = append(key, kindSegments)
	}
	return key
}

// timelineRow is a row's key, taken apart.
type timelineRow struct {
	owner string
	place
	shard ShardKey
}

func decodeTimelineKey(keyspace clusterv1.Keyspace, key []byte) (timelineRow, error) {
	r := reader{rest: key}
	r.take(8)
	owner := r.bytes()
	stream := keyspace == clusterv1.Keyspace_KEYSPACE_STREAM
	want := placeSize + shardKeyFixed
	if stream {
		want++
	}
	if r.failed || len(r.rest) != want {
		return timelineRow{}, fmt.Errorf("%w: row %x of the timeline", errShardKey, key)
	}
	row := timelineRow{owner: string(owner)}
	row.level = r.rest[0]
	row.start = int64(binary.BigEndian.Uint64(r.rest[1:]) ^ (1 << 63))
	shard, err := decodeShardKey(keyspace, r.rest[placeSize:placeSize+shardKeyFixed])
	if !stream || key[len(key)-1] == kindOutbox {
		shard.Tenant = row.owner
	}
	row.shard = shard
	return row, err
}

// moveInTimeline replaces an owner's row for a shard; nil stands for none.
func moveInTimeline(tx *kv.Tx, owner string, shard ShardKey, from, to *place) error {
	if from != nil && to != nil && *from == *to || from == nil && to == nil {
		return nil
	}
	rows, err := tx.CreateBucketIfNotExists(timelineName(shard.Keyspace))
	if err != nil {
		return err
	}
	if from != nil {
		if err := rows.Delete(timelineKey(owner, *from, shard)); err != nil {
			return err
		}
	}
	if to == nil {
		return nil
	}
	return rows.Put(timelineKey(owner, *to, shard), nil)
}

// owned calls fn for the shards of an owner whose data may overlap the query,
// and for no shard of which none does by more than a window.
func owned(tx *kv.Tx, keyspace clusterv1.Keyspace, owner string, query Bounds, fn func(ShardKey) error) error {
	rows := tx.Bucket(timelineName(keyspace))
	if rows == nil {
		return nil
	}
	prefix := ownerKey(owner)
	cursor := rows.Cursor()
	for level := 0; level <= maxLevel; level++ {
		first := place{byte(level), earliestStart(query.Min, level)}
		key, _ := cursor.Seek(first.append(prefix[:len(prefix):len(prefix)]))
		for ; ownedBy(key, prefix); key, _ = cursor.Next() {
			row, err := decodeTimelineKey(keyspace, key)
			if err != nil {
				return err
			}
			if int(row.level) != level {
				// The levels between have no rows.
				level = int(row.level) - 1
				break
			}
			if row.start > query.Max {
				break
			}
			if err := fn(row.shard); err != nil {
				return err
			}
		}
		if !ownedBy(key, prefix) {
			return nil
		}
	}
	return nil
}

// earliestStart is the first start of a level with which an interval can reach
// a time.
func earliestStart(reach int64, level int) int64 {
	back := window(level)
	if uint64(reach)-1<<63 < back { // the distance from the least time
		return math.MinInt64
	}
	return int64(uint64(reach) - back)
}

func ownedBy(key, prefix []byte) bool {
	return len(key) > len(prefix) && string(key[:len(prefix)]) == string(prefix)
}

// allOwned calls fn for every row of an owner, dormant ones too.
func allOwned(tx *kv.Tx, keyspace clusterv1.Keyspace, owner string, fn func(timelineRow) error) error {
	rows := tx.Bucket(timelineName(keyspace))
	if rows == nil {
		return nil
	}
	prefix := ownerKey(owner)
	cursor := rows.Cursor()
	for key, _ := cursor.Seek(prefix); ownedBy(key, prefix); key, _ = cursor.Next() {
		row, err := decodeTimelineKey(keyspace, key)
		if err != nil {
			return err
		}
		if err := fn(row); err != nil {
			return err
		}
	}
	return nil
}

// owners calls fn for each owner that has a shard in the span, once; the rest
// of an owner's rows is stepped over.
func owners(tx *kv.Tx, span *clusterv1.RangeRef, fn func(owner string) error) error {
	rows := tx.Bucket(timelineName(span.GetKeyspace()))
	if rows == nil {
		return nil
	}
	cursor := rows.Cursor()
	key, _ := cursor.First()
	if span.GetKeyspace() != clusterv1.Keyspace_KEYSPACE_STREAM {
		// The rows are in the order of tenants' spans. A range may begin within one.
		key, _ = cursor.Seek(binary.BigEndian.AppendUint64(nil, span.GetLo()&^(1<<16-1)))
	}
	for key != nil {
		row, err := decodeTimelineKey(span.GetKeyspace(), key)
		if err != nil {
			return err
		}
		if !span.Contains(row.shard.Point) {
			if span.GetKeyspace() != clusterv1.Keyspace_KEYSPACE_STREAM && row.shard.Point > span.GetLo() && !withinTenant(row.shard.Point, span) {
				return nil
			}
			key, _ = cursor.Next()
			continue
		}
		if err := fn(row.owner); err != nil {
			return err
		}
		key, _ = cursor.Seek(append(ownerKey(row.owner), beyondOwner...))
	}
	return nil
}

// beyondOwner follows an owner's key after its last row.
var beyondOwner = bytes.Repeat([]byte{0xff}, placeSize+shardKeyFixed+2)

// withinTenant tells whether a point lies in the span of a tenant that the end
// of a range divides: others of that tenant's points are in the range.
func withinTenant(point uint64, span *clusterv1.RangeRef) bool {
	return span.GetHi() != 0 && point>>16 == (span.GetHi()-1)>>16
}
