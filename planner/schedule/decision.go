package schedule

import (
	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Decision is all that one poll does. It is applied as a whole or, if one of its
// preconditions does not hold any more, not at all; then the poll is decided anew.
// The preconditions:
//
//   - LastToken is the highest token handed out;
//   - every Ref finds its job with its revision;
//   - no job has the name of a created one; the sources of a created job are queued
//     under its key, or, with Attempts above 0, are a batch of that name; its
//     tombstones are on no job;
//   - a job that is given up, or completes without some of its sources, carries the
//     tombstones and sources named: that follows from its revision.
type Decision struct {
	// The log time it was made at; all times below follow from it.
	Now       planner.Time
	LastToken uint64

	// Changes, in the order of application.
	Renew    []Grant
	Complete []Completion
	Fail     []Failure
	GiveUp   []GiveUp
	Assign   []Grant
	Create   []compaction.Job

	// What became of each report, in request order.
	Reports []Report
	// Slots that were to be filled: the worker's free ones and those of refused reports.
	Slots int
	// Why not more jobs were created.
	Stopped planner.Reason
}

// Empty tells that nothing changes: there is nothing to propose.
func (d Decision) Empty() bool {
	return len(d.Renew)+len(d.Complete)+len(d.Fail)+len(d.GiveUp)+len(d.Assign)+len(d.Create) == 0
}

// Ref names a job in the state in which the decision saw it.
type Ref struct {
	Name     string
	Level    uint32
	Revision uint64
}

// Grant makes a job in progress, with the values given.
type Grant struct {
	Was       Ref
	Token     uint64
	ExpiresAt planner.Time
	Failures  uint32
	Reason    planner.Reason
}

// Completion removes a job whose owner reported success, and the tombstones it
// carried.
type Completion struct {
	Was   Ref
	Token uint64
	// The job's tenant and data shard.
	Tenant string
	Shard  uint32
	// The sources that the new blocks replace; they get a tombstone with the job's
	// name. Both are empty if the worker found nothing to do.
	Sources   []string
	NewBlocks []*metastorev1.BlockMeta
	// Planned sources that were not replaced: back into the queue. Those that are not
	// in the index (any more) are left out when applying.
	Return []compaction.Batch
	// Planned sources whose objects are known to be missing: removed from the index.
	Missing []string
	// Tombstones that were carried out.
	Tombstones []string
	Reason     planner.Reason
}

// Failure takes a job back from an owner that reported nonsense: unassigned, no
// lease, its token stays.
type Failure struct {
	Was      Ref
	Failures uint32
	Reason   planner.Reason
}

// GiveUp removes a job; its sources and tombstones wait again.
type GiveUp struct {
	Was Ref
	// As in Completion.
	Return []compaction.Batch
	// Tombstones that are on no job again, since the decision's Now.
	Tombstones []string
	// GivenUp, Evicted or BadResult.
	Reason planner.Reason
}

// Report is what became of one status update.
type Report struct {
	Name   string
	Reason planner.Reason
}

func (j Job) ref() Ref { return Ref{Name: j.Name, Level: j.Level, Revision: j.Revision} }
