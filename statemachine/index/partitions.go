package index

import (
	"encoding/binary"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/statemachine/ordered"
	"github.com/skerrydb/skerry/storage/kv"
)

// The list of partitions has a row without value for each index shard, in the
// order of partition, tenant, data shard, for those who go through them by age:
//
//	partition (8) | tenant, ordered | shard (4)
//
// Blocks in an outbox are not listed: their age is judged where they go.
var partitionsName = []byte("partitions")

func partitionKey(key ShardKey) []byte {
	row := binary.BigEndian.AppendUint64(nil, key.Partition)
	row = ordered.Append(row, key.Tenant)
	return binary.BigEndian.AppendUint32(row, key.Shard)
}

func enlist(tx *kv.Tx, key ShardKey) error {
	if key.outbox() {
		return nil
	}
	rows, err := tx.CreateBucketIfNotExists(partitionsName)
	if err != nil {
		return err
	}
	return rows.Put(partitionKey(key), nil)
}

func delist(tx *kv.Tx, key ShardKey) error {
	if key.outbox() {
		return nil
	}
	return tx.Bucket(partitionsName).Delete(partitionKey(key))
}

func decodePartitionKey(row []byte) (ShardKey, error) {
	if len(row) < 8 {
		return ShardKey{}, errShardKey
	}
	tenant, rest, ok := ordered.Cut(row[8:])
	if !ok || len(rest) != 4 {
		return ShardKey{}, fmt.Errorf("%w: row %x of the partitions", errShardKey, row)
	}
	key := ShardKey{Partition: binary.BigEndian.Uint64(row), Tenant: tenant, Shard: binary.BigEndian.Uint32(rest)}
	key.Keyspace, key.Point = clusterv1.BlockPoint(tenant, key.Shard)
	return key, nil
}

// ShardInfo is what is known of an index shard without reading its blocks.
type ShardInfo struct {
	ShardKey
	Record
}

// Partitions calls fn for the index shards behind one in the order of partition,
// tenant and data shard, until it returns false; the zero key is before all.
func (r Reader) Partitions(after ShardKey, fn func(ShardInfo) (bool, error)) error {
	rows := r.tx.Bucket(partitionsName)
	if rows == nil {
		return nil
	}
	cursor := rows.Cursor()
	row, _ := cursor.First()
	if after != (ShardKey{}) {
		first := partitionKey(after)
		if row, _ = cursor.Seek(first); string(row) == string(first) {
			row, _ = cursor.Next()
		}
	}
	for ; row != nil; row, _ = cursor.Next() {
		key, err := decodePartitionKey(row)
		if err != nil {
			return err
		}
		shard, err := r.open(key)
		if err != nil {
			return err
		}
		if shard == nil {
			return wrap(key, errRecord)
		}
		if more, err := fn(ShardInfo{key, shard.record}); err != nil || !more {
			return err
		}
	}
	return nil
}

// TenantsIn calls fn for the tenants that have datasets in the segments of an
// index shard, by name, with their bounds, until it returns false.
func (r Reader) TenantsIn(key ShardKey, fn func(tenant string, bounds Bounds) bool) error {
	shard, err := r.open(key)
	if shard == nil || err != nil {
		return err
	}
	if shard.record.Settled < shard.record.Next {
		if _, err := r.learn(shard); err != nil {
			return err
		}
	}
	tenants, err := allTenants(shard.bucket, shard.terms, shard.record)
	if err != nil {
		return shard.wrap(err)
	}
	for _, t := range tenants {
		if !fn(t.tenant, t.Bounds) {
			return nil
		}
	}
	return nil
}

// OldestLive returns the start of the oldest partition in which a tenant (empty
// for segments) and data shard has blocks; false if there is none.
func (r Reader) OldestLive(tenant string, shardNumber uint32) (partition uint64, found bool, err error) {
	keyspace, point := clusterv1.BlockPoint(tenant, shardNumber)
	root := r.tx.Bucket(rootName(keyspace))
	if root == nil {
		return 0, false, nil
	}
	cursor := root.Cursor()
	for name, _ := cursor.Seek(binary.BigEndian.AppendUint64(nil, point)); name != nil; name, _ = cursor.Next() {
		key, err := decodeShardKey(keyspace, name)
		if err != nil || key.Point != point {
			return 0, false, err
		}
		if key.Tenant != tenant || key.Shard != shardNumber {
			continue
		}
		shard, err := r.open(key)
		if err != nil {
			return 0, false, err
		}
		if shard != nil && shard.record.Blocks > 0 {
			return key.Partition, true, nil
		}
	}
	return 0, false, nil
}
