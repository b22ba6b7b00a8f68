package shardgroup

import (
	"time"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"

	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/planner/schedule"
)

// compactionDecision puts what the planner decided under a leader epoch into the
// words of the log. The reasons stay behind.
func compactionDecision(epoch uint64, d schedule.Decision) *raftlogv1.CompactionDecision {
	decision := &raftlogv1.CompactionDecision{
		LeaderEpoch: epoch, LastToken: d.LastToken,
		Renew: jobLeases(d.Renew), Assign: jobLeases(d.Assign),
	}
	for _, c := range d.Complete {
		decision.Complete = append(decision.Complete, &raftlogv1.JobCompletion{
			Job: jobRef(c.Was), Token: c.Token, Sources: c.Sources, Blocks: c.NewBlocks,
			Return: blockBatches(c.Return), Missing: c.Missing,
		})
	}
	for _, f := range d.Fail {
		decision.Fail = append(decision.Fail, &raftlogv1.JobFailure{Job: jobRef(f.Was), Failures: f.Failures})
	}
	for _, up := range d.GiveUp {
		decision.Release = append(decision.Release, &raftlogv1.JobRelease{Job: jobRef(up.Was), Return: blockBatches(up.Return)})
	}
	for _, job := range d.Create {
		decision.Create = append(decision.Create, &raftlogv1.CompactionJob{
			Name: job.Name, Tenant: job.Tenant, Shard: job.Shard, Level: job.Level,
			Sources: job.Sources, Tombstones: job.Tombstones, Attempts: job.Attempts,
		})
	}
	return decision
}

func jobRef(ref schedule.Ref) *raftlogv1.JobRef {
	return &raftlogv1.JobRef{Name: ref.Name, Revision: ref.Revision}
}

func jobLeases(grants []schedule.Grant) []*raftlogv1.JobLease {
	var leases []*raftlogv1.JobLease
	for _, g := range grants {
		leases = append(leases, &raftlogv1.JobLease{Job: jobRef(g.Was), Token: g.Token, ExpiresAt: int64(g.ExpiresAt), Failures: g.Failures})
	}
	return leases
}

func blockBatches(batches []compaction.Batch) []*raftlogv1.BlockBatch {
	var all []*raftlogv1.BlockBatch
	for _, b := range batches {
		all = append(all, &raftlogv1.BlockBatch{Blocks: b.Blocks, Attempts: b.Attempts, NotBefore: int64(b.NotBefore)})
	}
	return all
}

func retentionDecision(epoch uint64, remove []retention.Removal) *raftlogv1.RetentionDecision {
	decision := &raftlogv1.RetentionDecision{LeaderEpoch: epoch}
	for _, r := range remove {
		decision.Shards = append(decision.Shards, &raftlogv1.ExpiredShard{
			Partition: partitionSeconds(r.Partition), Tenant: r.Tenant, Shard: r.Shard, Revision: r.Revision, Tombstone: r.Tombstone,
		})
	}
	return decision
}

// workerJob is a job as workers know it, with what its tombstones name.
func (v planView) workerJob(name string) (*metastorev1.CompactionJob, error) {
	job, err := v.job(name)
	if err != nil {
		return nil, err
	}
	out := &metastorev1.CompactionJob{
		Name: job.GetName(), Shard: job.GetShard(), Tenant: job.GetTenant(), CompactionLevel: job.GetLevel(), SourceBlocks: job.GetSources(),
	}
	for _, tombstone := range job.GetTombstones() {
		held, err := v.View.Tombstones.Get(tombstone)
		if err != nil {
			return nil, err
		}
		// One that was added anew since waits for its own time.
		if held != nil && held.GetJob() == name {
			out.Tombstones = append(out.Tombstones, workerTombstone(held))
		}
	}
	return out, nil
}

// workerTombstone is a tombstone as workers know it.
func workerTombstone(t *raftlogv1.Tombstone) *metastorev1.Tombstones {
	if len(t.GetBlocks()) > 0 {
		return &metastorev1.Tombstones{Blocks: &metastorev1.BlockTombstones{
			Name: t.GetName(), Shard: t.GetShard(), Tenant: t.GetTenant(), CompactionLevel: t.GetLevel(), Blocks: t.GetBlocks(),
		}}
	}
	return &metastorev1.Tombstones{Shard: &metastorev1.ShardTombstone{
		Name: t.GetName(), Timestamp: int64(t.GetPartition()) * int64(time.Second), Duration: int64(retention.PartitionDuration),
		Shard: t.GetShard(), Tenant: t.GetTenant(),
	}}
}
