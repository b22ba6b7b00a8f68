package statemachine

import (
	"errors"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// ErrWrongSpan means that a request names a span that does not hold the point
// of what it concerns.
var ErrWrongSpan = errors.New("the span does not hold the block's point")

// addBlock indexes a block, and queues it for compaction. A block that is there
// already stays as it is; one that was compacted does not come back.
func addBlock(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	block, err := u.blocks.Decode(command.GetPayload())
	if err != nil {
		return invalid(err), nil
	}
	if err := metastorev1.ValidateBlock(block); err != nil {
		return invalid(err), nil
	}
	keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
	if ref := command.GetRange(); ref.GetKeyspace() != keyspace || !ref.Contains(point) {
		return invalid(ErrWrongSpan), nil
	}
	if refused := u.owns(command.GetRange()); refused != nil {
		return refused, nil
	}
	id, err := metastorev1.ParseID(block.GetId())
	if err != nil {
		return nil, err
	}
	tables, err := u.openWaiting()
	if err != nil {
		return nil, err
	}
	tenant, shard, level := block.TenantName(), block.GetShard(), block.GetCompactionLevel()
	if tables.tombstones.Compacted(tenant, shard, id) {
		return already(), nil // its data is in another block
	}
	if u.deletedBefore(keyspace, tenant, id) {
		return already(), nil // it comes too late; segments stay, their datasets are hidden
	}
	added, err := u.fileBlock(index.KeyOf(id, tenant, shard), id, block)
	if err != nil {
		return nil, err
	}
	if !added {
		return already(), nil
	}
	if level >= queue.Levels {
		return ok(), nil
	}
	return ok(), tables.queue.Push(queue.Key{Tenant: tenant, Shard: shard, Level: level}, id, u.header.logTime)
}
