// Package sim runs the planner against a plain model of the tables it reads and a
// fleet of workers that crash, are slow, repeat themselves and fail.
//
//	fleet ──poll──► schedule.Poll ──decision──► Tables.Apply ──► invariants
//	  ▲                  ▲                           │
//	  └── answer, lost or late          stale decisions are refused
//
// Tables is also a reference: it says in a few lines what a state machine does with
// a decision, and counts what is read, so that tests can bound it. Everything comes
// from a seed; a failing seed fails again.
package sim
