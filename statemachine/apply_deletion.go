package statemachine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/deletions"
	"github.com/skerrydb/skerry/statemachine/index"
)

// deletionShards bounds the index shards of one command, so that an apply stays
// short.
const deletionShards = 500

var errNoTenant = errors.New("a deletion needs a tenant")

// deleteTenant removes what a tenant has in a range: its own blocks at once,
// with tombstones for their objects; its datasets in segments are hidden, and
// left behind when the segments are compacted.
func deleteTenant(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	deletion := &raftlogv1.DeleteTenant{}
	if err := deletion.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	if deletion.GetTenant() == "" {
		return invalid(errNoTenant), nil
	}
	if refused := u.owns(command.GetRange()); refused != nil {
		return refused, nil
	}
	keyspace := command.GetRange().GetKeyspace()
	err := deletions.Put(u.tx, keyspace, deletion.GetTenant(), &raftlogv1.Deletion{Until: deletion.GetUntil(), At: u.header.logTime})
	if err != nil {
		return nil, err
	}
	// What is decided from now on is later.
	u.header.logTime++
	shards, err := u.index.Owned(command.GetRange(), deletion.GetTenant(), deletionShards+1)
	if err != nil {
		return nil, err
	}
	outcome := &raftlogv1.DeletionOutcome{More: len(shards) > deletionShards}
	for _, key := range shards[:min(len(shards), deletionShards)] {
		if key.Segments() {
			err = u.index.Disown(key, deletion.GetTenant(), u.header.applied)
		} else {
			err = u.deleteShard(key, outcome)
		}
		if err != nil {
			return nil, err
		}
	}
	payload, err := outcome.MarshalVT()
	result := ok()
	result.Payload = payload
	return result, err
}

// closedLongAgo is the age from which a partition gets no new objects: no
// compaction of what it holds is under way any more.
const closedLongAgo = 24 * time.Hour

// deleteShard removes an index shard of a deleted tenant.
func (u *update) deleteShard(key index.ShardKey, outcome *raftlogv1.DeletionOutcome) error {
	listed, err := u.index.List(key)
	if err != nil {
		return err
	}
	blocks, objectBytes, err := u.index.Drop(key)
	if err != nil {
		return err
	}
	u.header.blocks -= blocks
	u.header.objectBytes -= objectBytes
	outcome.Blocks += blocks
	outcome.ObjectBytes += objectBytes
	tables, err := u.openCompaction()
	if err != nil {
		return err
	}
	if key.Keyspace == clusterv1.Keyspace_KEYSPACE_STREAM {
		if err := tables.outbox.Empty(key.Shard, key.Tenant); err != nil {
			return err
		}
	} else {
		err := tables.queue.Forget(key.Tenant, key.Shard, func(id ulid.ULID) bool { return index.PartitionOf(id) == key.Partition })
		if err != nil {
			return err
		}
	}
	return u.buryShard(key, listed)
}

// buryShard leaves tombstones for the objects of a shard. One for the whole
// partition deletes what is older, too, and what comes into it: it is for
// partitions where nothing new can be.
func (u *update) buryShard(key index.ShardKey, listed []index.Listed) error {
	if len(listed) == 0 {
		return nil
	}
	end := time.Unix(int64(key.Partition), 0).Add(index.PartitionSeconds * time.Second)
	name := fmt.Sprintf("deleted at %d: %d-S%d-T%s", u.header.applied, key.Partition, key.Shard, key.Tenant)
	if key.Keyspace != clusterv1.Keyspace_KEYSPACE_STREAM && end.Add(closedLongAgo).UnixNano() < u.header.logTime {
		return u.tables.tombstones.Add(&raftlogv1.Tombstone{
			Name: name, Tenant: key.Tenant, Shard: key.Shard, Partition: key.Partition, Since: u.header.logTime,
		})
	}
	const most = 1000
	byLevel := map[uint32][]string{}
	for _, block := range listed {
		byLevel[block.Level] = append(byLevel[block.Level], block.ID.String())
	}
	for _, level := range slices.Sorted(maps.Keys(byLevel)) {
		for part, ids := 0, byLevel[level]; len(ids) > 0; part++ {
			n := min(len(ids), most)
			if err := u.tables.tombstones.Add(&raftlogv1.Tombstone{
				Name:   fmt.Sprintf("%s-L%d-%d", name, level, part),
				Tenant: key.Tenant, Shard: key.Shard, Level: level, Blocks: ids[:n], Since: u.header.logTime,
			}); err != nil {
				return err
			}
			ids = ids[n:]
		}
	}
	return nil
}

// deletedBefore tells whether a block of a tenant is from before the tenant's
// deletion.
func (u *update) deletedBefore(keyspace clusterv1.Keyspace, tenant string, id ulid.ULID) (bool, error) {
	deletion, err := deletions.Get(u.tx, keyspace, tenant)
	return deletion != nil && id.Time() <= deletion.GetUntil(), err
}
