// Package placement decides where replicas and leaders go: from one picture of the
// cluster, which step to take next.
//
// What is wanted stands in the directory's map: the states of nodes, the roles of
// replicas, settings. What is stands in the nodes' reports. Plan compares the two
// and returns the next steps; the controller carries them out, gathers reports, and
// asks again. Nothing is remembered between two calls, so every step may be
// repeated, refused, or lost. A replica moves like this:
//
//	AddReplica ─► (node starts it) ─► RaftAddLearner ─► (it catches up) ─► RaftPromote ─► SetRole VOTER
//	                                                                                          │
//	RemoveReplica ◄─ RaftRemove ◄─ TransferLeader, if it leads ◄─ SetRole LEAVING ◄───────────┘
//
// The new one votes before the old one goes. A group takes one step at a time, and
// none while its members are unknown or too few of them live to agree. No step
// reduces the failures that a group survives, unless an operator's wish leaves no
// other way.
//
// A move has an end by construction: the same order that would choose a surplus
// voter to go decides whether a move begins, and each move that was not forced
// makes the spread over zones better, or equal and that over nodes better.
package placement
