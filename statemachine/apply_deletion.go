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

// deletionShards bounds the index shards that one command changes, so that an
// apply stays short.
const deletionShards = 500

var errNoTenant = errors.New("a deletion needs a tenant")

// deleteTenant removes what a tenant has in a range, as far as it was created up
// to a moment: its own blocks at once, with tombstones for their objects; its
// datasets in segments are hidden, and left behind when the segments are
// compacted. Repeating it changes nothing.
func deleteTenant(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	request := &raftlogv1.DeleteTenant{}
	if err := request.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	if request.GetTenant() == "" {
		return invalid(errNoTenant), nil
	}
	if refused := u.owns(command.GetRange()); refused != nil {
		return refused, nil
	}
	keyspace := command.GetRange().GetKeyspace()
	err := deletions.Put(u.tx, keyspace, request.GetTenant(), &raftlogv1.Deletion{Until: request.GetUntil(), At: u.header.logTime})
	if err != nil {
		return nil, err
	}
	// What is decided from now on is later.
	u.header.logTime++
	if err := u.hide(); err != nil {
		return nil, err
	}
	d := &deletion{update: u, tenant: request.GetTenant(), until: request.GetUntil(), gone: map[uint32]*forgotten{}, younger: map[uint32]map[ulid.ULID]bool{}}
	if err := d.run(command.GetRange()); err != nil {
		return nil, err
	}
	payload, err := d.outcome.MarshalVT()
	result := ok()
	result.Payload = payload
	return result, err
}

// hide tells the index what readers do not see.
func (u *update) hide() error {
	hidden, err := deletions.Hidden(u.tx)
	u.index.Hide(hidden)
	return err
}

// deletion is one command under way.
type deletion struct {
	*update
	tenant  string
	until   uint64 // Unix milliseconds
	outcome raftlogv1.DeletionOutcome
	// By data shard: what leaves the queue.
	gone map[uint32]*forgotten
	// By data shard: blocks in the outbox that jobs made which knew of the deletion.
	younger map[uint32]map[ulid.ULID]bool
	// Tombstones made.
	buried int
}

type forgotten struct {
	partitions map[uint64]bool
	ids        map[ulid.ULID]bool
}

func (d *deletion) run(span *clusterv1.RangeRef) error {
	if _, err := d.openCompaction(); err != nil {
		return err
	}
	changed := 0
	err := d.index.Owned(span, d.tenant, func(key index.ShardKey) (bool, error) {
		if key.Partition*1000 > d.until {
			return true, nil // all of it is younger
		}
		if changed == deletionShards {
			d.outcome.More = true
			return false, nil
		}
		one := d.shard
		if key.Segments() {
			one = func(key index.ShardKey) (bool, error) { return d.index.Disown(key, d.tenant, d.header.applied) }
		}
		did, err := one(key)
		if did {
			changed++
		}
		return true, err
	})
	if err != nil {
		return err
	}
	for _, shard := range slices.Sorted(maps.Keys(d.gone)) {
		gone := d.gone[shard]
		err := d.tables.queue.Forget(d.tenant, shard, func(id ulid.ULID) bool {
			return gone.ids[id] || gone.partitions[index.PartitionOf(id)]
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// shard deletes from one of the tenant's own index shards: all of it, or what is
// old enough. It reports whether there was anything.
func (d *deletion) shard(key index.ShardKey) (bool, error) {
	listed, err := d.index.List(key)
	if err != nil {
		return false, err
	}
	younger, err := d.spared(key)
	if err != nil {
		return false, err
	}
	old := slices.DeleteFunc(slices.Clone(listed), func(block index.Listed) bool { return block.ID.Time() > d.until || younger[block.ID] })
	gone := d.forgotten(key)
	if len(old) == len(listed) {
		blocks, objectBytes, err := d.index.Drop(key)
		if err != nil {
			return false, err
		}
		d.header.blocks -= blocks
		d.header.objectBytes -= objectBytes
		d.outcome.Blocks += blocks
		d.outcome.ObjectBytes += objectBytes
		gone.partitions[key.Partition] = true
		return true, errors.Join(d.withhold(key, old), d.bury(key, old, true))
	}
	for _, block := range old {
		before := d.header.objectBytes
		if _, err := d.removeBlock(key, block.ID); err != nil {
			return false, err
		}
		d.outcome.Blocks++
		d.outcome.ObjectBytes += before - d.header.objectBytes
		gone.ids[block.ID] = true
	}
	return len(old) > 0, errors.Join(d.withhold(key, old), d.bury(key, old, false))
}

// spared returns the blocks of an outbox that are younger than they look.
func (d *deletion) spared(key index.ShardKey) (map[ulid.ULID]bool, error) {
	if !key.Outbox() {
		return nil, nil
	}
	younger, known := d.younger[key.Shard]
	if !known {
		var err error
		if younger, err = d.tables.outbox.Younger(key.Shard, key.Tenant, d.until); err != nil {
			return nil, err
		}
		d.younger[key.Shard] = younger
	}
	return younger, nil
}

// forgotten is where to note what leaves the queue with an index shard. What is in an
// outbox is in no queue; that of the same tenant and shard here has other blocks.
func (d *deletion) forgotten(key index.ShardKey) *forgotten {
	if key.Outbox() {
		return &forgotten{map[uint64]bool{}, map[ulid.ULID]bool{}}
	}
	gone := d.gone[key.Shard]
	if gone == nil {
		gone = &forgotten{map[uint64]bool{}, map[ulid.ULID]bool{}}
		d.gone[key.Shard] = gone
	}
	return gone
}

// withhold takes blocks that are gone out of the transfers that they were in.
func (d *deletion) withhold(key index.ShardKey, old []index.Listed) error {
	if !key.Outbox() || len(old) == 0 {
		return nil
	}
	gone := make(map[ulid.ULID]bool, len(old))
	for _, block := range old {
		gone[block.ID] = true
	}
	return d.tables.outbox.Forget(key.Shard, key.Tenant, gone)
}

// closedLongAgo is the age from which a partition gets no new objects: no
// compaction of what it holds is under way any more.
const closedLongAgo = 24 * time.Hour

// tombstoneBlocks bounds the blocks of one tombstone.
const tombstoneBlocks = 1000

// bury leaves tombstones for the objects of blocks. One for the whole partition
// deletes what is older, too, and what comes into it: it is for partitions where
// nothing new can be.
func (d *deletion) bury(key index.ShardKey, blocks []index.Listed, all bool) error {
	end := time.Unix(int64(key.Partition), 0).Add(index.PartitionSeconds * time.Second)
	closed := key.Keyspace != clusterv1.Keyspace_KEYSPACE_STREAM && end.Add(closedLongAgo).UnixNano() < d.header.logTime
	if all && closed && len(blocks) > 0 {
		return d.tombstone(&raftlogv1.Tombstone{Tenant: key.Tenant, Shard: key.Shard, Partition: key.Partition})
	}
	byLevel := map[uint32][]string{}
	for _, block := range blocks {
		byLevel[block.Level] = append(byLevel[block.Level], block.ID.String())
	}
	for _, level := range slices.Sorted(maps.Keys(byLevel)) {
		for ids := range slices.Chunk(byLevel[level], tombstoneBlocks) {
			if err := d.tombstone(&raftlogv1.Tombstone{Tenant: key.Tenant, Shard: key.Shard, Level: level, Blocks: ids}); err != nil {
				return err
			}
		}
	}
	return nil
}

// tombstone adds one with a name that no other has: by the command, and its
// number within the command.
func (d *deletion) tombstone(t *raftlogv1.Tombstone) error {
	t.Name = fmt.Sprintf("deleted by %d.%d.%d: T%s-S%d", d.header.applied, d.position, d.buried, t.GetTenant(), t.GetShard())
	t.Since = d.header.logTime
	d.buried++
	return d.tables.tombstones.Add(t)
}

// deletedBefore tells whether a block that is added is of a tenant that was
// deleted after the block was made. It is not for results of compaction, whose
// ids carry the time of their first source.
func (u *update) deletedBefore(keyspace clusterv1.Keyspace, tenant string, id ulid.ULID) (bool, error) {
	deletion, err := deletions.Get(u.tx, keyspace, tenant)
	return deletion != nil && id.Time() <= deletion.GetUntil(), err
}
