// Package spread does what Pyroscope's adaptive placement needs around
// planner/adaptive: nodes count what they add (Counters); one of them, which leads
// the directory, gathers that, makes rules of it and writes them into the bucket
// (Manager).
//
//	added blocks ─► Counters of each node ─┐
//	                                       ├─► Manager ─► planner/adaptive ─► bucket ─► distributors
//	what is in the bucket ─────────────────┘  (begins with it)
//
// Counters only grow, and are those of one process: whoever asks keeps what it saw
// last, so an answer that is lost or repeated neither loses nor doubles anything.
package spread
