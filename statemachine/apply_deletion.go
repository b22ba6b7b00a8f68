package statemachine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/accepted"
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
	budget := deletionShards
	outcome, err := u.delete(command.GetRange(), request, &budget)
	if err != nil {
		return nil, err
	}
	payload, err := outcome.MarshalVT()
	result := ok()
	result.Payload = payload
	return result, err
}

// delete carries out a deletion in a span, as far as the budget of index shards goes.
func (u *update) delete(span *clusterv1.RangeRef, request *raftlogv1.DeleteTenant, budget *int) (*raftlogv1.DeletionOutcome, error) {
	err := deletions.Put(u.tx, span.GetKeyspace(), request.GetTenant(), &raftlogv1.Deletion{Until: request.GetUntil(), At: u.header.logTime})
	if err != nil {
		return nil, err
	}
	// What is decided from now on is later.
	u.header.logTime++
	if u.deleted, err = deletions.Load(u.tx); err != nil {
		return nil, err
	}
	u.index.Hide(u.deleted.Hidden())
	d := &deletion{
		update: u, tenant: request.GetTenant(), until: request.GetUntil(), budget: budget,
		gone: map[uint32]*forgotten{}, younger: map[uint32]map[ulid.ULID]bool{}, withheld: map[uint32]map[ulid.ULID]bool{}, settled: map[uint32]bool{},
	}
	return &d.outcome, d.run(span)
}

// deleteFirst carries out, at the point of a stream and tenant, a deletion that the
// stream knew of when it made a transfer, should it not have come here yet. From then
// on nothing older is here nor comes, and the mark says so: what the transfer brings,
// and what becomes of it, is not taken for older when the deletion comes, or comes
// again. It reports whether all is done; if not, the transfer must wait.
func (u *update) deleteFirst(stream uint32, tenant string, mark *accepted.Mark, until uint64, budget *int) (bool, error) {
	if until <= mark.DeletedUntil {
		return true, nil
	}
	keyspace, point := clusterv1.BlockPoint(tenant, stream)
	span := &clusterv1.RangeRef{Keyspace: keyspace, Lo: point, Hi: point + 1} // the last point ends at 0, which is the end
	outcome, err := u.delete(span, &raftlogv1.DeleteTenant{Tenant: tenant, Until: until}, budget)
	if err != nil || outcome.GetMore() {
		return false, err
	}
	mark.DeletedUntil = until
	return true, nil
}

// deletion is one command under way.
type deletion struct {
	*update
	tenant  string
	until   uint64 // Unix milliseconds
	budget  *int   // index shards that may still be changed
	outcome raftlogv1.DeletionOutcome
	// By data shard: what leaves the queue.
	gone map[uint32]*forgotten
	// By data shard: blocks in the outbox that jobs made which knew of the deletion.
	younger map[uint32]map[ulid.ULID]bool
	// By data shard: blocks to take out of the outbox.
	withheld map[uint32]map[ulid.ULID]bool
	// By data shard: whether what is older went already, whatever ids say (deleteFirst).
	settled map[uint32]bool
}

type forgotten struct {
	partitions map[uint64]bool
	ids        map[ulid.ULID]bool
}

func (d *deletion) run(span *clusterv1.RangeRef) error {
	if _, err := d.openCompaction(); err != nil {
		return err
	}
	err := d.index.Owned(span, d.tenant, func(key index.ShardKey) (bool, error) {
		if key.Partition*1000 > d.until {
			return true, nil // all of it is younger
		}
		if settled, err := d.isSettled(key); settled || err != nil {
			return err == nil, err
		}
		if *d.budget <= 0 {
			d.outcome.More = true
			return false, nil
		}
		one := d.shard
		if key.Segments() {
			one = func(key index.ShardKey) (bool, error) { return d.index.Disown(key, d.tenant, d.header.applied) }
		}
		did, err := one(key)
		if did {
			*d.budget--
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
	for _, shard := range slices.Sorted(maps.Keys(d.withheld)) {
		if err := d.tables.outbox.Forget(shard, d.tenant, d.withheld[shard]); err != nil {
			return err
		}
	}
	return nil
}

// isSettled tells of one of the tenant's own index shards that the deletion is done.
func (d *deletion) isSettled(key index.ShardKey) (bool, error) {
	if key.Keyspace != clusterv1.Keyspace_KEYSPACE_TENANT {
		return false, nil
	}
	settled, known := d.settled[key.Shard]
	if !known {
		mark, err := accepted.Get(d.tx, key.Shard, d.tenant)
		if err != nil {
			return false, err
		}
		settled = mark.DeletedUntil >= d.until
		d.settled[key.Shard] = settled
	}
	return settled, nil
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
		d.withhold(key, old)
		return true, d.bury(key, old)
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
	d.withhold(key, old)
	return len(old) > 0, d.bury(key, old)
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

// withhold notes that blocks which are gone must leave the transfers that they are in.
func (d *deletion) withhold(key index.ShardKey, old []index.Listed) {
	if !key.Outbox() || len(old) == 0 {
		return
	}
	if d.withheld[key.Shard] == nil {
		d.withheld[key.Shard] = map[ulid.ULID]bool{}
	}
	for _, block := range old {
		d.withheld[key.Shard][block.ID] = true
	}
}

// tombstoneBlocks bounds the blocks of one tombstone.
const tombstoneBlocks = 1000

// bury leaves tombstones for the objects of blocks, and of these only, however old
// they are: one for a whole partition would take what comes into it, too, and that may
// be younger than the deletion (see deleteFirst).
func (d *deletion) bury(key index.ShardKey, blocks []index.Listed) error {
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
// number within the command, which may carry out several deletions.
func (d *deletion) tombstone(t *raftlogv1.Tombstone) error {
	t.Name = fmt.Sprintf("deleted by %d.%d.%d: T%s-S%d", d.header.applied, d.position, d.graves, t.GetTenant(), t.GetShard())
	t.Since = d.header.logTime
	d.graves++
	return d.tables.tombstones.Add(t)
}

// deletedBefore tells whether a block that is added is of a tenant that was
// deleted after the block was made. It is not for results of compaction, whose
// ids carry the time of their first source.
func (u *update) deletedBefore(keyspace clusterv1.Keyspace, tenant string, id ulid.ULID) bool {
	until, deleted := u.deleted.Until(keyspace, tenant)
	return deleted && id.Time() <= until
}
