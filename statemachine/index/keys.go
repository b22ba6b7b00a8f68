package index

import (
	"cmp"
	"encoding/binary"
	"errors"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// PartitionSeconds is the length of a partition: blocks are filed by the
// creation time in their id, in windows of 6 hours (UTC).
const PartitionSeconds = 6 * 60 * 60

// ShardKey names an index shard: the blocks of one tenant (or of the anonymous
// segments, with an empty tenant) and data shard in one partition.
type ShardKey struct {
	Keyspace clusterv1.Keyspace
	Point    uint64
	// Unix seconds of the partition's start.
	Partition uint64
	Shard     uint32
	Tenant    string
}

// KeyOf returns the index shard that a block belongs to.
func KeyOf(id ulid.ULID, tenant string, shard uint32) ShardKey {
	keyspace, point := clusterv1.BlockPoint(tenant, shard)
	return ShardKey{keyspace, point, PartitionOf(id), shard, tenant}
}

// OutboxKey returns the index shard of a tenant's block that is still where it
// was made: with the segments of its data shard.
func OutboxKey(id ulid.ULID, tenant string, shard uint32) ShardKey {
	return ShardKey{clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.StreamPoint(shard), PartitionOf(id), shard, tenant}
}

// PartitionOf returns the start of the partition of a block, Unix seconds.
func PartitionOf(id ulid.ULID) uint64 {
	seconds := id.Time() / 1000
	return seconds - seconds%PartitionSeconds
}

// segments tells whether the shard holds blocks of many tenants.
func (k ShardKey) segments() bool {
	return k.Keyspace == clusterv1.Keyspace_KEYSPACE_STREAM && k.Tenant == ""
}

// outbox tells whether the shard's blocks belong to a range of tenants, and wait
// in a stream's.
func (k ShardKey) outbox() bool {
	return k.Keyspace == clusterv1.Keyspace_KEYSPACE_STREAM && k.Tenant != ""
}

// Outbox tells whether the shard's blocks wait in the outbox of a stream.
func (k ShardKey) Outbox() bool { return k.outbox() }

const shardKeyFixed = 8 + 8 + 4

func (k ShardKey) encode() []byte {
	return append(k.appendFixed(make([]byte, 0, shardKeyFixed+len(k.Tenant))), k.Tenant...)
}

// appendFixed appends the numbers of a key.
func (k ShardKey) appendFixed(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(to, k.Point)
	to = binary.BigEndian.AppendUint64(to, k.Partition)
	return binary.BigEndian.AppendUint32(to, k.Shard)
}

var errShardKey = errors.New("index: malformed shard key")

func decodeShardKey(keyspace clusterv1.Keyspace, key []byte) (ShardKey, error) {
	if len(key) < shardKeyFixed {
		return ShardKey{}, errShardKey
	}
	return ShardKey{
		Keyspace:  keyspace,
		Point:     binary.BigEndian.Uint64(key[0:]),
		Partition: binary.BigEndian.Uint64(key[8:]),
		Shard:     binary.BigEndian.Uint32(key[16:]),
		Tenant:    string(key[shardKeyFixed:]),
	}, nil
}

// compareAnswers is the order of answers: by tenant and shard. What one tenant and
// shard have in a keyspace is in the order of the disk.
func compareAnswers(a, b ShardKey) int {
	return cmp.Or(
		cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Shard, b.Shard),
		cmp.Compare(a.Keyspace, b.Keyspace), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Point, b.Point),
	)
}

func rootName(keyspace clusterv1.Keyspace) []byte {
	if keyspace == clusterv1.Keyspace_KEYSPACE_STREAM {
		return []byte("stream")
	}
	return []byte("tenant")
}

// Tags of the rows in a shard's bucket.
const (
	tagBlock    = 'b'
	tagTenant   = 'o'
	tagPostings = 'p'
	tagMasks    = 'q'
	// What a query reads first comes one after the other.
	tagRecord  = 'r'
	tagStrings = 's'
	tagSeries  = 't'
	tagID      = 'u'
)

func numberedKey(tag byte, number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{tag}, number)
}

// postingsKey is the key of a node's row: tagPostings, or tagMasks.
func postingsKey(tag byte, level int, number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{tag, byte(level)}, number)
}

func idKey(id ulid.ULID) []byte { return append([]byte{tagID}, id[:]...) }

func tenantKey(tenant string) []byte { return append([]byte{tagTenant}, tenant...) }
