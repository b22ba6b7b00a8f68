package statemachine

import (
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/index"
)

var errNoTombstone = errors.New("an index shard would go without a tombstone of its own")

// maxNameBytes bounds the names of jobs and tombstones, which are keys.
const maxNameBytes = 16 << 10

// dataShard is what has one queue for each level.
type dataShard struct {
	tenant string
	shard  uint32
}

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
	names := map[string]bool{}
	for _, expired := range decision.GetShards() {
		name := expired.GetTombstone()
		if name == "" || len(name) > maxNameBytes || names[name] {
			return invalid(fmt.Errorf("%w: its name is %.64q", errNoTombstone, name)), nil
		}
		names[name] = true
	}
	if _, err := u.openCompaction(); err != nil {
		return nil, err
	}
	outcome := &raftlogv1.RetentionOutcome{}
	gone := map[dataShard]map[uint64]bool{}
	var order []dataShard
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
		of := dataShard{key.Tenant, key.Shard}
		if gone[of] == nil {
			gone[of], order = map[uint64]bool{}, append(order, of)
		}
		gone[of][key.Partition] = true
	}
	for _, of := range order {
		err := u.tables.queue.Forget(of.tenant, of.shard, func(id ulid.ULID) bool { return gone[of][index.PartitionOf(id)] })
		if err != nil {
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
	return u.tables.tombstones.Add(&raftlogv1.Tombstone{
		Name: expired.GetTombstone(), Tenant: key.Tenant, Shard: key.Shard, Partition: key.Partition, Since: u.header.logTime,
	})
}
