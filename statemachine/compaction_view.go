package statemachine

import (
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/jobs"
	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/statemachine/tombstones"
)

// Inspect runs a function over one state, for those who plan; it returns nil.
// The view must not be used after the function returns.
type Inspect struct{ Fn func(View) error }

// View is what planning reads.
type View struct {
	Queue      queue.View
	Jobs       jobs.View
	Tombstones tombstones.View
	Index      index.Reader
	// Log time of the state, Unix nanoseconds.
	LogTime int64
	// Of the last leader that claimed the group.
	LeaderEpoch uint64
	// The highest fencing token handed out.
	LastToken uint64
	// Compaction jobs that exist.
	JobsCount int
	// Compaction is paused by an operator.
	Paused bool
}

func (q Inspect) read(v *view) (any, error) {
	return nil, q.Fn(View{
		Queue: queue.NewView(v.tx), Jobs: jobs.NewView(v.tx), Tombstones: tombstones.NewView(v.tx), Index: v.index,
		LogTime: v.header.logTime, LeaderEpoch: v.header.leaderEpoch,
		LastToken: v.header.lastToken, JobsCount: int(v.header.jobs), Paused: v.header.paused,
	})
}
