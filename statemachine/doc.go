// Package statemachine is what a group replicates: it turns committed commands
// into changes of the group's store, and answers reads from it.
//
//	Raft entry ──► Update ──► one storage transaction ──► results
//	                │ log time, leader epoch, ownership
//	                ├── ranges     which points the group owns, and their splits
//	                ├── index      block metadata
//	                └── directory  the cluster's records and their changes (directory
//	                               group only)
//
// Rules, each asserted and tested by the name given:
//
//   - deterministic: the log entry is the only input, the transaction the only
//     output. No clock, no randomness, no goroutines, no map order. Replicas
//     that applied the same entries hold equal contents, however the entries
//     were split into batches, and through restarts and snapshots (Hash).
//   - applied-with-changes: the applied index is part of the same transaction
//     as the changes, so a crash leaves a state after some entry, and says
//     after which.
//   - log-time-monotone: log time is the maximum of the proposers' clocks seen.
//   - ownership-at-apply, ownership-in-read: a command or a read that names a
//     span is checked against the range rows of the very state it touches.
//   - refusals-are-results: a command that cannot be applied changes nothing and
//     says why in its result. An error stops the node: it means that the store
//     failed, or that the log holds what this release does not understand.
//   - idempotent: a command that was applied before has no further effect.
//
// The package never does I/O but through the store it is given, never logs and
// never starts goroutines.
package statemachine
