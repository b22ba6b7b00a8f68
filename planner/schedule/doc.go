// Package schedule decides what one poll of a worker does: which of its reports
// count, which jobs it gets, which failed jobs are taken apart, and, by package
// compaction, which jobs are new. All of it is one Decision, for one Raft entry; a
// poll that changes nothing has an empty one, for none.
//
//	           create                assign: new token, lease
//	queue ───────────► unassigned ───────────────────────────► in progress ──┐ renew
//	  ▲                     ▲  ▲                                │   │   ▲    │
//	  │                     │  └── bad result, failure + 1 ─────┘   │   └────┤
//	  │                     │                                       │        │ lease ended:
//	  │ back-off, in halves │                        success: gone ◄┘        │ assign again,
//	  └─────────────────────┴──────── given up after FailuresMax ◄───────────┘ failure + 1
//
// It never looks at a worker's clock and knows no worker by name: a job's token is
// all that tells its owner from others.
package schedule
