// Package dlq recovers dead letters: metadata that a segment-writer could not add
// and left in the object store instead.
//
//	dlq/<shard>/<tenant or "anonymous">/<ULID>/meta.pb
//
//	one lister for each process             one lane for each group that it leads
//	dlq/ ─► shards ─► tenants ─► whose? ──► list ─► read ─► add ─► delete
//	                                                 │        └ failed: later, slower each time
//	                                                 └ bad: dlq-rejected/…, then delete
//
// It is level-triggered: the object store is what counts, and all that is kept in
// memory saves work only. Any number of processes may recover the same entries:
// adding a block again changes nothing.
package dlq
