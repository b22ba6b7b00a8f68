package statemachine

import (
	"maps"
	"slices"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/deletions"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// complete replaces a job's sources by its results, in one step for all who
// read. If a source was removed since the job began, by retention, the results
// hold data that must not come back: their objects get a tombstone, and what is
// left of the sources waits again.
func (d *decided) complete(completion *raftlogv1.JobCompletion) error {
	state := d.seen[completion.GetJob().GetName()]
	job := state.GetJob()
	sources, err := parseIDs(completion.GetSources())
	if err != nil {
		return err
	}
	missing, err := parseIDs(completion.GetMissing())
	if err != nil {
		return err
	}
	for _, id := range missing {
		if _, err := d.removeBlock(index.KeyOf(id, job.GetTenant(), job.GetShard()), id); err != nil {
			return err
		}
	}
	left := slices.DeleteFunc(slices.Clone(sources), func(id ulid.ULID) bool {
		return !d.index.Has(index.KeyOf(id, job.GetTenant(), job.GetShard()), id)
	})
	if len(left) == len(sources) {
		err = d.replace(completion, state, sources)
	} else {
		err = d.discard(job, left, completion.GetBlocks())
	}
	if err != nil {
		return err
	}
	if err := d.dropTombstones(job); err != nil {
		return err
	}
	return d.removeJob(state, completion.GetReturn())
}

// replace removes the sources, remembers them by a tombstone with the job's
// name, and files the results.
func (d *decided) replace(completion *raftlogv1.JobCompletion, state *raftlogv1.JobState, sources []ulid.ULID) error {
	job := state.GetJob()
	for _, id := range sources {
		if _, err := d.removeBlock(index.KeyOf(id, job.GetTenant(), job.GetShard()), id); err != nil {
			return err
		}
	}
	if len(sources) > 0 {
		if err := d.tombstones.Add(&raftlogv1.Tombstone{
			Name: job.GetName(), Tenant: job.GetTenant(), Shard: job.GetShard(), Level: job.GetLevel(),
			Blocks: completion.GetSources(), Since: d.header.logTime, Token: completion.GetToken(),
		}); err != nil {
			return err
		}
	}
	return d.addResults(state, completion.GetBlocks())
}

// removeBlock takes a block out of the index and the sums.
func (u *update) removeBlock(key index.ShardKey, id ulid.ULID) (bool, error) {
	objectBytes, existed, err := u.index.Remove(key, id, u.header.applied)
	if existed && err == nil {
		u.header.blocks--
		u.header.objectBytes -= objectBytes
	}
	return existed, err
}

// fileBlock puts a block into the index and the sums. It reports false if it is
// there already.
func (u *update) fileBlock(key index.ShardKey, id ulid.ULID, block *metastorev1.BlockMeta) (bool, error) {
	size := block.GetSize()
	added, err := u.index.Add(key, id, block, u.header.applied)
	if added && err == nil {
		u.header.blocks++
		u.header.objectBytes += size
	}
	return added, err
}

// addResults files new blocks: those of tenants that segments were compacted for
// go to the outbox, all others where they belong, and into the queue. What a job
// made of a tenant that was deleted since it began is from before the deletion;
// and so is what it made of nothing but older segments, as workers do that read
// the objects' own metadata.
func (d *decided) addResults(state *raftlogv1.JobState, blocks []*metastorev1.BlockMeta) error {
	job := state.GetJob()
	transfers := map[string]*raftlogv1.Transfer{}
	for _, block := range blocks {
		id, err := metastorev1.ParseID(block.GetId())
		if err != nil {
			return err
		}
		tenant, level := block.TenantName(), block.GetCompactionLevel()
		deletion, err := deletions.Get(d.tx, clusterv1.Keyspace_KEYSPACE_STREAM, tenant)
		if err != nil {
			return err
		}
		if tenant != job.GetTenant() && deletion != nil && (state.GetCreatedAt() <= deletion.GetAt() || newest(job) <= deletion.GetUntil()) {
			if err := d.discard(job, nil, []*metastorev1.BlockMeta{block}); err != nil {
				return err
			}
			continue
		}
		if tenant != job.GetTenant() {
			size := block.SizeVT() // filing uses it up
			added, err := d.fileBlock(index.OutboxKey(id, tenant, block.GetShard()), id, block)
			if err != nil {
				return err
			}
			if !added {
				continue
			}
			transfer := transfers[tenant]
			if transfer == nil {
				transfer = &raftlogv1.Transfer{MadeAt: d.header.logTime, DeletedUntil: deletion.GetUntil()}
				transfers[tenant] = transfer
			}
			transfer.Blocks = append(transfer.Blocks, id.String())
			transfer.Bytes += uint64(size)
			continue
		}
		added, err := d.fileBlock(index.KeyOf(id, tenant, block.GetShard()), id, block)
		if err != nil {
			return err
		}
		if added && level < queue.Levels {
			if err := d.queue.Push(queue.Key{Tenant: tenant, Shard: job.GetShard(), Level: level}, id, d.header.logTime); err != nil {
				return err
			}
		}
	}
	return d.issue(job.GetShard(), transfers)
}

// newest returns when the youngest source of a job was created, Unix
// milliseconds.
func newest(job *raftlogv1.CompactionJob) (at uint64) {
	for _, text := range job.GetSources() {
		if id, err := ulid.ParseStrict(text); err == nil {
			at = max(at, id.Time())
		}
	}
	return at
}

// issue numbers the transfers of one job: one for each tenant, all with the
// stream's next number.
func (d *decided) issue(shard uint32, transfers map[string]*raftlogv1.Transfer) error {
	if len(transfers) == 0 {
		return nil
	}
	x, err := d.outbox.Next(shard)
	if err != nil {
		return err
	}
	for _, tenant := range slices.Sorted(maps.Keys(transfers)) {
		if err := d.outbox.Issue(shard, tenant, x, transfers[tenant]); err != nil {
			return err
		}
	}
	return nil
}

// discard puts the sources that are left back into the queue, and leaves
// tombstones for the results, one for each tenant: a tombstone names objects of
// one.
func (d *decided) discard(job *raftlogv1.CompactionJob, left []ulid.ULID, blocks []*metastorev1.BlockMeta) error {
	for _, id := range left {
		if err := d.queue.Push(keyOf(job), id, d.header.logTime); err != nil {
			return err
		}
	}
	byTenant := map[string][]string{}
	for _, block := range blocks {
		byTenant[block.TenantName()] = append(byTenant[block.TenantName()], block.GetId())
	}
	for _, tenant := range slices.Sorted(maps.Keys(byTenant)) {
		if err := d.tooLate(tenant, job.GetShard(), job.GetLevel()+1, byTenant[tenant]); err != nil {
			return err
		}
	}
	return nil
}

// tooLate leaves a tombstone for the objects of blocks that are not filed.
func (u *update) tooLate(tenant string, shard, level uint32, ids []string) error {
	ids = slices.Sorted(slices.Values(ids))
	return u.tables.tombstones.Add(&raftlogv1.Tombstone{
		// No job's name has a space.
		Name:   "late " + metastorev1.JobName(ids, tenant, shard, level),
		Tenant: tenant, Shard: shard, Level: level, Blocks: ids, Since: u.header.logTime,
	})
}

// dropTombstones forgets those that a job carried out.
func (d *decided) dropTombstones(job *raftlogv1.CompactionJob) error {
	for _, name := range job.GetTombstones() {
		held, err := d.tombstones.Get(name)
		if err != nil {
			return err
		}
		if held.GetJob() != job.GetName() {
			continue
		}
		if err := d.tombstones.Delete(held); err != nil {
			return err
		}
	}
	return nil
}

// removeJob deletes a job. The tombstones that are on it wait again, and so do
// the batches, without the blocks that are not in the index any more.
func (u *update) removeJob(state *raftlogv1.JobState, batches []*raftlogv1.BlockBatch) error {
	tables, err := u.openCompaction()
	if err != nil {
		return err
	}
	job := state.GetJob()
	for _, name := range job.GetTombstones() {
		held, err := tables.tombstones.Get(name)
		if err != nil {
			return err
		}
		if held == nil || held.GetJob() != job.GetName() {
			continue
		}
		if err := tables.tombstones.Release(held, u.header.logTime); err != nil {
			return err
		}
	}
	for _, batch := range batches {
		ids, err := parseIDs(batch.GetBlocks())
		if err != nil {
			return err
		}
		left := &raftlogv1.BlockBatch{Attempts: batch.GetAttempts(), NotBefore: batch.GetNotBefore()}
		ids = slices.DeleteFunc(ids, func(id ulid.ULID) bool {
			return !u.index.Has(index.KeyOf(id, job.GetTenant(), job.GetShard()), id) || tables.queue.Has(keyOf(job), id)
		})
		if len(ids) == 0 {
			continue
		}
		slices.SortFunc(ids, ulid.ULID.Compare)
		for _, id := range ids {
			left.Blocks = append(left.Blocks, id.String())
		}
		if err := tables.queue.Return(keyOf(job), ids, left); err != nil {
			return err
		}
	}
	u.header.jobs--
	return tables.jobs.Delete(state)
}
