// Package pyroscopedb reads the database of a stock Pyroscope v2 metastore: a BoltDB
// file, or a Raft snapshot, which holds one. It never changes either.
//
//	partition / start ns (8) | duration s (4) / tenant, or "-" / shard (4)
//	    .index    min and max time of data; not needed
//	    .strings  index of the first string (4) → count (4), then length (4) and bytes of each
//	    ULID      → BlockMeta without string table, which refers to the shard's
//	compaction_block_queue / Raft index (8) | ULID → time (8) | level (4) | shard (4) | tenant
//	compaction_job_plan    / name → CompactionJobPlan
//	compaction_job_state   / name → CompactionJobState; not needed
//	tombstones             / Raft index (8) | time (8) | name → Tombstones
//	raft                   / term.applied_index → term (8) | index (8)
//
// Rows are checked one by one. One that is damaged is told as a *DamageError and
// passed over; an error of another type ends what is read.
package pyroscopedb
