// Package compaction decides which jobs to create now: which queued blocks become
// one block, and which objects may be deleted meanwhile.
//
// It reads the block queue, the batches that failed jobs gave back, the outboxes'
// state and the tombstones through View, and returns a Plan. It changes nothing
// and knows neither workers nor leases: those are package schedule's.
//
//	queue, per level and key (tenant, shard)          jobs
//	  full key: as many blocks as a job takes  ─┐
//	  aged key: its oldest block waited long   ─┼──► oldest first, lowest level first
//	  given back by a failed job, back-off over┘        + up to 2 tombstones each
//	  nothing of it due, tombstones due        ─────► jobs without blocks
//
// What one Make reads does not depend on what is queued: a seek and at most
// BlocksMax+1 rows for each job, and a few seeks for each level.
package compaction
