package shardgroup

import (
	"fmt"
	"iter"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/planner/schedule"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// planView shows one state of a group to the planner. Lists are read row by row,
// as far as the planner goes. It must not be used after Inspect's function
// returned.
type planView struct{ statemachine.View }

var (
	_ schedule.View  = planView{}
	_ retention.View = planView{}
)

// listed translates a list of the state machine, row by row.
func listed[From, To any](list iter.Seq2[From, error], translate func(From) To) iter.Seq2[To, error] {
	return func(yield func(To, error) bool) {
		for row, err := range list {
			if err != nil {
				var none To
				yield(none, err)
				return
			}
			if !yield(translate(row), nil) {
				return
			}
		}
	}
}

// failing is a list that cannot be read.
func failing[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}

func planKey(w queue.Waiting) compaction.Key {
	return compaction.Key{Tenant: w.Tenant, Shard: w.Shard, Level: w.Level, Oldest: planner.Time(w.Oldest), Blocks: w.Blocks}
}

// OldestKeys is for planning.
func (v planView) OldestKeys(level uint32) iter.Seq2[compaction.Key, error] {
	return listed(v.Queue.Oldest(level), planKey)
}

// FullKeys is for planning. The table keeps the order for its own number of
// blocks only: all replicas must agree on it.
func (v planView) FullKeys(level uint32, blocksMin int, from planner.Time) iter.Seq2[compaction.Key, error] {
	if level >= queue.Levels || queue.Full[level] != blocksMin {
		return failing[compaction.Key](fmt.Errorf("level %d: there is no order of keys with %d blocks", level, blocksMin))
	}
	return listed(v.Queue.FullKeys(level, int64(from)), planKey)
}

// Blocks is for planning.
func (v planView) Blocks(level uint32, tenant string, shard uint32, after compaction.Place) iter.Seq2[compaction.Place, error] {
	var place queue.Place
	if after != (compaction.Place{}) {
		id, err := metastorev1.ParseID(after.ID)
		if err != nil {
			return failing[compaction.Place](err)
		}
		place = queue.Place{At: int64(after.At), ID: id}
	}
	return listed(v.Queue.Blocks(queue.Key{Tenant: tenant, Shard: shard, Level: level}, place), func(p queue.Place) compaction.Place {
		return compaction.Place{At: planner.Time(p.At), ID: p.ID.String()}
	})
}

// Returned is for planning.
func (v planView) Returned(level uint32) iter.Seq2[compaction.Batch, error] {
	return listed(v.Queue.Returned(level), func(r queue.Returned) compaction.Batch {
		return compaction.Batch{
			Tenant: r.Tenant, Shard: r.Shard, Level: r.Level,
			Blocks: r.GetBlocks(), Attempts: r.GetAttempts(), NotBefore: planner.Time(r.GetNotBefore()),
		}
	})
}

// OutboxFull is for planning.
func (v planView) OutboxFull(shard uint32) (bool, error) {
	stream, err := v.Outbox.Stream(shard)
	return stream.Full(), err
}

// Tombstones is for planning. The embedded view's table of the same name is
// hidden by it; see held.
func (v planView) Tombstones() iter.Seq2[compaction.Tombstone, error] {
	return listed(v.View.Tombstones.Waiting(), func(t *raftlogv1.Tombstone) compaction.Tombstone {
		return compaction.Tombstone{Name: t.GetName(), Tenant: t.GetTenant(), Shard: t.GetShard(), Since: planner.Time(t.GetSince())}
	})
}

func planJob(state *raftlogv1.JobState) schedule.Job {
	status := schedule.Unassigned
	if state.GetInProgress() {
		status = schedule.InProgress
	}
	return schedule.Job{
		Name: state.GetJob().GetName(), Level: state.GetJob().GetLevel(), Status: status, Token: state.GetToken(),
		CreatedAt: planner.Time(state.GetCreatedAt()), LeaseExpiresAt: planner.Time(state.GetLeaseExpiresAt()), Failures: state.GetFailures(), Revision: state.GetRevision(),
	}
}

// Job is for planning.
func (v planView) Job(name string) (schedule.Job, bool, error) {
	state, err := v.View.Jobs.Get(name)
	if state == nil || err != nil {
		return schedule.Job{}, false, err
	}
	return planJob(state), true, nil
}

// JobPlan is for planning.
func (v planView) JobPlan(name string) (compaction.Job, error) {
	job, err := v.job(name)
	return compaction.Job{
		Name: job.GetName(), Tenant: job.GetTenant(), Shard: job.GetShard(), Level: job.GetLevel(),
		Sources: job.GetSources(), Tombstones: job.GetTombstones(), Attempts: job.GetAttempts(),
	}, err
}

func (v planView) job(name string) (*raftlogv1.CompactionJob, error) {
	state, err := v.View.Jobs.Get(name)
	if err == nil && state == nil {
		err = fmt.Errorf("there is no job %.128q", name)
	}
	return state.GetJob(), err
}

// Completed is for planning.
func (v planView) Completed(name string) (uint64, bool, error) {
	held, err := v.View.Tombstones.Get(name)
	return held.GetToken(), held.GetToken() > 0, err
}

// Jobs is for planning.
func (v planView) Jobs(level uint32, status schedule.Status, failuresMin uint32) iter.Seq2[schedule.Job, error] {
	return listed(v.View.Jobs.List(level, status == schedule.InProgress, failuresMin), planJob)
}

// JobsCount is for planning.
func (v planView) JobsCount() (int, error) { return v.View.JobsCount, nil }

// LastToken is for planning.
func (v planView) LastToken() (uint64, error) { return v.View.LastToken, nil }

// Rows is for planning.
func (v planView) Rows(after retention.Place) iter.Seq2[retention.Row, error] {
	return func(yield func(retention.Row, error) bool) {
		var behind index.ShardKey
		if after != (retention.Place{}) {
			behind = placeKey(after.Partition, after.Tenant, after.Shard)
		}
		err := v.Index.Partitions(behind, func(info index.ShardInfo) (bool, error) {
			return yield(retention.Row{
				Place:   retention.Place{Partition: partitionStart(info.Partition), Tenant: info.Tenant, Shard: info.Shard},
				DataEnd: info.Max, Blocks: info.Blocks, Bytes: info.ObjectBytes, Revision: info.Revision,
			}, nil), nil
		})
		if err != nil {
			yield(retention.Row{}, err)
		}
	}
}

// TenantsOf is for planning.
func (v planView) TenantsOf(partition planner.Time, shard uint32) iter.Seq2[retention.TenantEnd, error] {
	return func(yield func(retention.TenantEnd, error) bool) {
		err := v.Index.TenantsIn(placeKey(partition, "", shard), func(tenant string, bounds index.Bounds) bool {
			return yield(retention.TenantEnd{Tenant: tenant, DataEnd: bounds.Max}, nil)
		})
		if err != nil {
			yield(retention.TenantEnd{}, err)
		}
	}
}

// OldestLive is for planning.
func (v planView) OldestLive(tenant string, shard uint32) (planner.Time, bool, error) {
	partition, found, err := v.Index.OldestLive(tenant, shard)
	return partitionStart(partition), found, err
}

// The state machine names partitions by Unix seconds.
func partitionStart(seconds uint64) planner.Time {
	return planner.Time(seconds) * planner.Time(time.Second)
}

func partitionSeconds(start planner.Time) uint64 { return uint64(start) / uint64(time.Second) }

func placeKey(partition planner.Time, tenant string, shard uint32) index.ShardKey {
	key := index.ShardKey{Partition: partitionSeconds(partition), Tenant: tenant, Shard: shard}
	key.Keyspace, key.Point = clusterv1.BlockPoint(tenant, shard)
	return key
}
