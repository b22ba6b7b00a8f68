package schedule

import (
	"iter"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
)

// View is what one poll reads: one consistent state of a group, with the same
// contract as compaction.View.
type View interface {
	compaction.View
	// Job finds a job's state by name.
	Job(name string) (job Job, found bool, err error)
	// JobPlan finds what a job that exists consists of.
	JobPlan(name string) (compaction.Job, error)
	// Completed finds the token with which a job succeeded. It is remembered for as
	// long as the tombstone of its sources at least.
	Completed(name string) (token uint64, found bool, err error)
	// Jobs lists the jobs of a level and status that have at least so many failures,
	// by failures, then LeaseExpiresAt, or CreatedAt of those that nobody has, then
	// name. So nobody's jobs are begun in the order in which they were created.
	Jobs(level uint32, status Status, failuresMin uint32) iter.Seq2[Job, error]
	// JobsCount is how many jobs exist, of any level and status.
	JobsCount() (int, error)
	// LastToken is the highest token that was ever handed out.
	LastToken() (uint64, error)
}

// Job is the state of a job.
type Job struct {
	Name string
	// Level of its sources.
	Level  uint32
	Status Status
	// The token of the last assignment; 0 if there was none.
	Token uint64
	// When it was created, by the table's clock. It does not change.
	CreatedAt planner.Time
	// Until when its owner may be silent; 0 if unassigned.
	LeaseExpiresAt planner.Time
	// Owners that fell silent or reported nonsense, at most FailuresCap.
	Failures uint32
	// Changes with every change of the job.
	Revision uint64
}

// Status tells whether a job has an owner.
type Status uint8

// The states of a job; there is no third, success removes it.
const (
	Unassigned Status = iota
	InProgress
)

// String names the status.
func (s Status) String() string {
	if s == InProgress {
		return "in progress"
	}
	return "unassigned"
}
