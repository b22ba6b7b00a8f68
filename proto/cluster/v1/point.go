package clusterv1

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// The hash space is for ever: a change of these functions needs a migration of
// all data. H is XXH64 with seed 0.
//
//	TENANT  point = H(tenant) with its low 16 bits replaced by the high 16 bits
//	        of H(shard): a tenant is a span of 65,536 points, and a huge tenant
//	        can still be split by shard.
//	STREAM  point = H(shard), of the shard as big-endian uint32.

const tenantSpanSize = 1 << 16

// TenantPoint is the position of a tenant's data shard in the TENANT keyspace.
func TenantPoint(tenant string, shard uint32) uint64 {
	lo, _ := TenantSpan(tenant)
	return lo | hashShard(shard)>>48
}

// TenantSpan holds all points of a tenant: from lo up to, not including, hi; a
// hi of 0 stands for the end of the space.
func TenantSpan(tenant string) (lo, hi uint64) {
	lo = xxhash.Sum64String(tenant) &^ (tenantSpanSize - 1)
	return lo, lo + tenantSpanSize
}

// StreamPoint is the position of a data shard's segments in the STREAM keyspace.
func StreamPoint(shard uint32) uint64 { return hashShard(shard) }

// BlockPoint is where a block lives: blocks without a tenant are segments.
func BlockPoint(tenant string, shard uint32) (Keyspace, uint64) {
	if tenant == "" {
		return Keyspace_KEYSPACE_STREAM, StreamPoint(shard)
	}
	return Keyspace_KEYSPACE_TENANT, TenantPoint(tenant, shard)
}

func hashShard(shard uint32) uint64 {
	var key [4]byte
	binary.BigEndian.PutUint32(key[:], shard)
	return xxhash.Sum64(key[:])
}

// Contains tells whether a point lies in the range.
func (r *Range) Contains(point uint64) bool {
	return spanContains(r.GetLo(), r.GetHi(), point)
}

// Contains tells whether a point lies in the span.
func (r *RangeRef) Contains(point uint64) bool {
	return spanContains(r.GetLo(), r.GetHi(), point)
}

// Covers tells whether the whole span lies in the range.
func (r *Range) Covers(ref *RangeRef) bool {
	return r.GetKeyspace() == ref.GetKeyspace() && r.GetLo() <= ref.GetLo() &&
		lastPoint(ref.GetHi()) <= lastPoint(r.GetHi())
}

// Overlaps tells whether the span and the range share a point.
func (r *Range) Overlaps(ref *RangeRef) bool {
	return r.GetKeyspace() == ref.GetKeyspace() &&
		r.GetLo() <= lastPoint(ref.GetHi()) && ref.GetLo() <= lastPoint(r.GetHi())
}

// Valid tells whether the span names a keyspace and holds at least one point.
func (r *RangeRef) Valid() bool {
	return r.GetKeyspace().known() && r.GetLo() <= lastPoint(r.GetHi())
}

func (k Keyspace) known() bool {
	return k == Keyspace_KEYSPACE_TENANT || k == Keyspace_KEYSPACE_STREAM
}

func spanContains(lo, hi, point uint64) bool {
	return lo <= point && point <= lastPoint(hi)
}

// lastPoint turns an exclusive end, with 0 for the end of the space, into the
// last point: hi-1 wraps to the highest point.
func lastPoint(hi uint64) uint64 { return hi - 1 }
