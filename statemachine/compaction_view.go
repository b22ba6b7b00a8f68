package statemachine

import (
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/jobs"
	"github.com/skerrydb/skerry/statemachine/outbox"
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
	Outbox     outbox.View
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
	// Ranges that the group owns.
	Ranges []*clusterv1.Range
}

// Owns refuses a point that the group does not own; nil if it does.
func (v View) Owns(keyspace clusterv1.Keyspace, point uint64) *clusterv1.RouteError {
	ref := &clusterv1.RangeRef{Keyspace: keyspace, Lo: point, Hi: point + 1}
	for _, row := range v.Ranges {
		if row.Overlaps(ref) {
			return nil
		}
	}
	return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_NOT_OWNER}
}

func (q Inspect) read(v *view) (any, error) {
	return nil, q.Fn(View{
		Queue: queue.NewView(v.tx), Jobs: jobs.NewView(v.tx), Tombstones: tombstones.NewView(v.tx), Index: v.index,
		Outbox:  outbox.NewView(v.tx),
		LogTime: v.header.logTime, LeaderEpoch: v.header.leaderEpoch,
		LastToken: v.header.lastToken, JobsCount: int(v.header.jobs), Paused: v.header.paused,
		Ranges: v.ranges.Rows(),
	})
}
