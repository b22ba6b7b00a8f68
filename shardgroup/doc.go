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
// Life of a node: identity → store → map as known → ask around → node host →
// replicas → registered. A new data directory becomes a cluster of its own, helps to
// found one, or joins one. From then on the node runs what the map gives to it, and
// reports to the directory's leader, whose controller brings the cluster to what the
// directory says.
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
