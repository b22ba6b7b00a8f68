// Package planner decides what a group shall do next: which blocks to compact
// together (package compaction), what to answer a worker that polls (schedule),
// which data is past its retention (retention), where its replicas and leaders
// go (placement), over how many shards datasets are spread (adaptive), and what is
// wrong with a cluster (doctor). This package holds the two words they share: a time,
// and the reason of a decision.
//
// Values and readers go in, a decision and its reasons come out:
//
//	read view ─┐
//	log time  ─┼─► plan ─► decision ─► Raft log ─► state machine applies or refuses it
//	config    ─┘                          ▲
//	                                      the log carries decisions, never requests to decide
//
// Nothing here does I/O, looks at a clock, starts goroutines or logs; ties are
// broken by id. So a leader may plan with another release than its followers, a
// simulation repeats from its seed, and a decision that comes too late is refused
// by the preconditions it carries.
//
// To add a decision: declare the few rows it must read as an interface beside its
// use, in an order in which a sorted table serves them; say in DESIGN.md which
// rows these are and how many of them one decision reads; give each outcome a
// Reason; add what must never happen to the invariants of package sim.
package planner
