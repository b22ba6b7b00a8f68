// Package kv is a transactional key-value store with nested buckets and cursors: the interface and
// the semantics of bbolt over one shared Pebble.
//
// An Engine is a store directory. It holds any number of namespaces, each a database of its own with
// its own writer; a Raft group's state is one namespace. Open makes an engine with a single
// namespace, for programs that want a file of their own.
//
//	Engine ─ one directory, one Pebble
//	  ├─ DB (namespace 1) ─ Tx ─ Bucket ─ Bucket … ─ Cursor
//	  ├─ DB (namespace 2)
//	  └─ …
//
// A reading transaction is a snapshot: it waits for nobody and nobody waits for it. A writing one
// gathers its writes in a batch, sees them at once, and hands them over whole at Commit,
// together with a row that numbers the commit.
//
// What survives a crash depends on EngineOptions.Durability. With NoWAL, the default of engines, each
// namespace is found at the state after some commit, never out of order; whoever needs more replays
// a log of its own from there and calls Sync before cutting it.
//
// Reads that fail because files are damaged or gone panic: bbolt's signatures have no room for an
// error, and a row that cannot be read must not look like a row that is not there.
//
// The package never interprets values and never starts work of its own beside Pebble's. DESIGN.md
// shows the layout of rows and says why it is so.
package kv
