package statemachine

import (
	"errors"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/index"
)

var errNoTombstone = errors.New("an index shard would go without a tombstone")

// decideRetention removes index shards whose data is past its period, with what
// waits for their blocks, and leaves a tombstone for each. One that has changed
// since the decision stays: the next sweep judges it again. Jobs keep sources
// that are gone; their results are dropped (see complete).
func decideRetention(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	decision := &raftlogv1.RetentionDecision{}
	if err := decision.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	if refused := u.stale(decision.GetLeaderEpoch()); refused != nil {
		return refused, nil
	}
	for _, expired := range decision.GetShards() {
		if expired.GetTombstone() == "" {
			return invalid(errNoTombstone), nil
		}
	}
	outcome := &raftlogv1.RetentionOutcome{}
	for _, expired := range decision.GetShards() {
		key := index.ShardKey{Partition: expired.GetPartition(), Shard: expired.GetShard(), Tenant: expired.GetTenant()}
		key.Keyspace, key.Point = clusterv1.BlockPoint(key.Tenant, key.Shard)
		revision, exists, err := u.index.Revision(key)
		if err != nil {
			return nil, err
		}
		if !exists || revision != expired.GetRevision() {
			outcome.Skipped++
			continue
		}
		if err := u.expire(expired, key, outcome); err != nil {
			return nil, err
		}
	}
	payload, err := outcome.MarshalVT()
	result := ok()
	result.Payload = payload
	return result, err
}

// expire removes one index shard.
func (u *update) expire(expired *raftlogv1.ExpiredShard, key index.ShardKey, outcome *raftlogv1.RetentionOutcome) error {
	blocks, objectBytes, err := u.index.Drop(key)
	if err != nil {
		return err
	}
	u.header.blocks -= blocks
	u.header.objectBytes -= objectBytes
	outcome.Shards++
	outcome.Blocks += blocks
	outcome.ObjectBytes += objectBytes
	tables, err := u.openCompaction()
	if err != nil {
		return err
	}
	err = tables.queue.Forget(key.Tenant, key.Shard, func(id ulid.ULID) bool { return index.PartitionOf(id) == key.Partition })
	if err != nil {
		return err
	}
	return tables.tombstones.Add(&raftlogv1.Tombstone{
		Name: expired.GetTombstone(), Tenant: key.Tenant, Shard: key.Shard, Partition: key.Partition, Since: u.header.logTime,
	})
}
