// Package shardgroup runs a node: its replicas of Raft groups, the store they
// share, and the node API that routers call.
//
//	            router
//	              │ node.v1
//	┌─────────────▼──────────────────────────────────────────┐
//	│ Node          service ── errors (one table)            │
//	│   ┌───────────────┐ ┌────────┐ ┌────────┐              │
//	│   │ directory (1) │ │ group 2│ │ group 3│ …            │
//	│   │ batcher       │ │ batcher│ │ batcher│  proposals   │
//	│   │ leadership    │ │        │ │        │  claims      │
//	│   └──────┬────────┘ └───┬────┘ └───┬────┘              │
//	│          └──── NodeHost ┴──────────┘   Raft log, fsync │
//	│          └──── Engine (Pebble, no WAL) one namespace   │
//	│                                        per group       │
//	└────────────────────────────────────────────────────────┘
//
// Life of a node: identity → store → node host → directory group → map → data
// groups. A new data directory becomes a cluster of its own with one node.
//
// Life of a proposal: it waits in its group's bounded queue while an earlier
// entry is in flight, is sent with all that wait beside it as one Raft entry,
// and gets its own result back. When nothing is in flight it is sent at once.
//
// Life of a read: one ReadIndex round, then one read of the local replica's
// state, in the caller's goroutine.
//
// Life of a poll: on the group's leader, in turn, the planner decides on the state
// as applied; the decision is proposed as one entry, or, if it is empty, the
// leader is confirmed.
//
// The package never decides what a command means (statemachine does) and never
// looks across groups (router does).
package shardgroup
