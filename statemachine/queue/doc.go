// Package queue is the table of blocks that wait for compaction.
//
// Blocks wait by key: tenant (empty for segments), data shard and level, in the
// order they came. What a failed job gave back waits as a batch, to be tried
// together again. Layout, inside a group's namespace, with K for
//
//	keyspace (1) | point (8) | level (1) | shard (4) | length, tenant
//
//	"queue"
//	  K 'b' time (8) ULID (16)         a block, in order of arrival
//	  K 'i' ULID (16)                  the time it came
//	  K 'n'                            when the oldest came (8), number of blocks (4)
//	  K 'r' ULID (16)                  a batch, by its first block
//	"queue-oldest", "queue-full"       keys by their oldest block; full ones again
//	  level (1) | time (8) | shard (4) | tenant
//	"queue-returned"                   batches by the time they are due
//	  level (1) | time (8) | ULID (16) | shard (4) | tenant
//	"queue-totals"                     blocks that wait at a level, and those in batches
//	  level (1) → blocks (8), in batches (8)
//
// A range's rows are contiguous in "queue"; the others follow from them.
package queue
