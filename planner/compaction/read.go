package compaction

import (
	"iter"

	"github.com/skerrydb/skerry/planner"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// View is what planning reads: one consistent state of a group. Every list is lazy
// and sorted as said, so that a sorted table serves it with one seek and a step for
// each row taken. A list that fails yields its error last. Used by one goroutine.
type View interface {
	// OldestKeys lists the keys of a level that have blocks queued, by the time of
	// their oldest block, then shard, then tenant.
	OldestKeys(level uint32) iter.Seq2[Key, error]
	// FullKeys lists, in the same order, those keys that have at least blocksMin
	// blocks and whose oldest block was queued at from or later. A table that keeps
	// this order for another number than blocksMin must fail.
	FullKeys(level uint32, blocksMin int, from planner.Time) iter.Seq2[Key, error]
	// Blocks lists the queued blocks of a key in arrival order: by time, then id;
	// only those after a place, the zero place being before all.
	Blocks(level uint32, tenant string, shard uint32, after Place) iter.Seq2[Place, error]
	// Returned lists the batches of a level that failed jobs gave back, by NotBefore,
	// then the first block's id.
	Returned(level uint32) iter.Seq2[Batch, error]
	// OutboxFull tells whether a stream's outbox has no room for transfers.
	OutboxFull(shard uint32) (bool, error)
	// Tombstones lists those that are on no job, by Since, then name.
	Tombstones() iter.Seq2[Tombstone, error]
}

// Key is the state of one queue: the blocks of one tenant (empty for segments), data
// shard and level that wait.
type Key struct {
	Tenant string
	Shard  uint32
	Level  uint32
	// When the block that waits longest was queued.
	Oldest planner.Time
	// How many wait; at least 1.
	Blocks int
}

// Place is a block's place in its queue.
type Place struct {
	// Log time at which the block was queued.
	At planner.Time
	// The block's ULID.
	ID string
}

// Batch is what a failed job gave back: blocks that are tried together again.
type Batch struct {
	Tenant string
	Shard  uint32
	Level  uint32
	// Block ids, ascending, at least one. No block is in two batches, nor queued, nor
	// in a job, so the first identifies the batch.
	Blocks []string
	// Failed jobs these blocks have been in since they were queued; at least 1.
	Attempts uint32
	// Not planned earlier; Never for those that wait for an operator.
	NotBefore planner.Time
}

// Name is the name of the job that the batch becomes.
func (b Batch) Name() string { return metastorev1.JobName(b.Blocks, b.Tenant, b.Shard, b.Level) }

// Tombstone stands for objects to delete.
type Tombstone struct {
	Name string
	// What it deletes: of which tenant (empty for segments) and data shard.
	Tenant string
	Shard  uint32
	// Since when it waits: its creation, or when its last job failed.
	Since planner.Time
}
