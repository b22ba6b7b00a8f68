package planner

import (
	"fmt"
	"time"
)

// Reason says why something was decided, or why it was left for later. It is made
// for people: `skerry compaction status` and `skerry retention plan` print it. The
// fields that a code does not mention are zero.
type Reason struct {
	Code Code
	// Counts: what is there, and what is wanted or allowed.
	Have, Want int64
	// A moment: when something happens or happened.
	At Time
	// A length of time: a period, an age.
	For time.Duration
	// A job, a tenant, an error text.
	Name string
}

// Code tells reasons apart.
type Code uint8

// Codes of package compaction.
const (
	// Unknown is the zero value: no reason was given.
	Unknown Code = iota
	// BatchFull: a job of Have blocks, as many as the level allows.
	BatchFull
	// BatchAged: a job of Have blocks; the oldest waited since At.
	BatchAged
	// SpanClosed: a job of Have blocks; the next one is too far away in creation time.
	SpanClosed
	// ReturnedDue: a job of the Have blocks of a failed job, for the time number Want.
	ReturnedDue
	// CleanupDue: a job without blocks, for Have tombstones.
	CleanupDue
	// NothingDue: nothing waits long enough, or in sufficient number.
	NothingDue
	// WaitingForBlocks: Have blocks of Want; due at At at the latest.
	WaitingForBlocks
	// WaitingForPoll: due; the next workers that poll get it.
	WaitingForPoll
	// BackingOff: part of a job that failed; tried for the time number Have at At.
	BackingOff
	// Abandoned: failed Have times; waits for an operator.
	Abandoned
	// OutboxFull: the stream of shard Have may not make new transfers.
	OutboxFull
	// CapacityUsed: as many as the poll has free slots, Want.
	CapacityUsed
	// JobQueueFull: Have jobs of at most Want.
	JobQueueFull
	// SkipLimit: Have rows were passed over in this plan, no more are looked at.
	SkipLimit
	// Paused: an operator paused compaction.
	Paused
)

// Codes of package schedule.
const (
	// AssignedNew: nobody has the job.
	AssignedNew Code = iota + 40
	// AssignedAgain: the lease ended at At; failure number Have.
	AssignedAgain
	// LeaseHeld: its owner's lease lasts until At.
	LeaseHeld
	// FailuresExhausted: Have failures of Want; given up at At, if its owner stays silent.
	FailuresExhausted
	// Renewed: the owner reported, the lease lasts until At.
	Renewed
	// Completed: the owner reported success with Have sources and Want new blocks.
	Completed
	// CompletedEmpty: the owner reported success without blocks.
	CompletedEmpty
	// CompletedBefore: the same success was applied before.
	CompletedBefore
	// UnknownJob: there is no such job.
	UnknownJob
	// StaleToken: the job has another token.
	StaleToken
	// NotLeased: the job was taken back from its owner.
	NotLeased
	// BadStatus: the status Have means nothing.
	BadStatus
	// BadResult: the result was refused for the reason in Name; failure number Have.
	BadResult
	// RepeatedUpdate: the request names the job twice.
	RepeatedUpdate
	// GivenUp: failed Have times; its blocks wait until At.
	GivenUp
	// Evicted: as GivenUp, early, since the job queue is full.
	Evicted
)

// Codes of package retention.
const (
	// Expired: data ends before At, the marker of a period of For.
	Expired Code = iota + 80
	// NothingLive: segments all compacted away, partition closed since At.
	NothingLive
	// KeptForEver: the tenant Name has no retention period.
	KeptForEver
	// PartitionOpen: the partition is removed after At at the earliest.
	PartitionOpen
	// RecentData: data up to At, within the period of For of the tenant Name.
	RecentData
	// OlderPartition: the partition of At of the same tenant and shard holds live blocks.
	OlderPartition
	// BudgetUsed: left for the next sweep.
	BudgetUsed
)

// String prints the reason as a clause.
func (r Reason) String() string {
	if text := r.compaction(); text != "" {
		return text
	}
	if text := r.schedule(); text != "" {
		return text
	}
	if text := r.retention(); text != "" {
		return text
	}
	return fmt.Sprintf("unknown reason %d", r.Code)
}

func (r Reason) compaction() string {
	switch r.Code {
	case BatchFull:
		return count(r.Have, "block") + ", a full batch"
	case BatchAged:
		return fmt.Sprintf("%s, the oldest queued at %v", count(r.Have, "block"), r.At)
	case SpanClosed:
		return count(r.Have, "block") + ", the next was created too long before or after"
	case ReturnedDue:
		return fmt.Sprintf("%s of a failed job, try %d", count(r.Have, "block"), r.Want)
	case CleanupDue:
		return "no blocks, " + count(r.Have, "tombstone")
	case NothingDue:
		return "nothing is due"
	case WaitingForBlocks:
		return fmt.Sprintf("waits for more blocks: %d of %d, due at %v", r.Have, r.Want, r.At)
	case WaitingForPoll:
		return "due, waits for a worker to poll"
	case BackingOff:
		return fmt.Sprintf("its job failed: try %d at %v", r.Have, r.At)
	case Abandoned:
		return count(r.Have, "failed job") + ": not tried again"
	case OutboxFull:
		return fmt.Sprintf("the outbox of stream %d is full", r.Have)
	case CapacityUsed:
		return fmt.Sprintf("the poll has room for %d", r.Want)
	case JobQueueFull:
		return fmt.Sprintf("%s of at most %d", count(r.Have, "job"), r.Want)
	case SkipLimit:
		return fmt.Sprintf("passed over %d and looked no further", r.Have)
	case Paused:
		return "compaction is paused"
	}
	return ""
}

func (r Reason) schedule() string {
	switch r.Code {
	case AssignedNew:
		return "nobody had it"
	case AssignedAgain:
		return fmt.Sprintf("its lease ended at %v, failure %d", r.At, r.Have)
	case LeaseHeld:
		return fmt.Sprintf("leased until %v", r.At)
	case FailuresExhausted:
		return fmt.Sprintf("%s of at most %d, given up after %v", count(r.Have, "failure"), r.Want, r.At)
	case Renewed:
		return fmt.Sprintf("renewed until %v", r.At)
	case Completed:
		return fmt.Sprintf("%s became %s", count(r.Have, "source"), count(r.Want, "block"))
	case CompletedEmpty:
		return "completed without blocks"
	case CompletedBefore:
		return "completed before"
	case UnknownJob:
		return "no such job"
	case StaleToken:
		return "another token is valid"
	case NotLeased:
		return "taken back from its owner"
	case BadStatus:
		return fmt.Sprintf("status %d means nothing", r.Have)
	case BadResult:
		return fmt.Sprintf("result refused, failure %d: %s", r.Have, r.Name)
	case RepeatedUpdate:
		return "named twice in one request"
	case GivenUp:
		return fmt.Sprintf("given up after %s, its blocks wait until %v", count(r.Have, "failure"), r.At)
	case Evicted:
		return fmt.Sprintf("evicted from a full queue after %s, its blocks wait until %v", count(r.Have, "failure"), r.At)
	}
	return ""
}

func (r Reason) retention() string {
	switch r.Code {
	case Expired:
		return fmt.Sprintf("all data before %v, %v ago", r.At, r.For)
	case NothingLive:
		return fmt.Sprintf("no live segments, closed since %v", r.At)
	case KeptForEver:
		return fmt.Sprintf("tenant %q is kept for ever", r.Name)
	case PartitionOpen:
		return fmt.Sprintf("not before %v", r.At)
	case RecentData:
		return fmt.Sprintf("tenant %q has data up to %v, kept for %v", r.Name, r.At, r.For)
	case OlderPartition:
		return fmt.Sprintf("the partition of %v must go first", r.At)
	case BudgetUsed:
		return "left for the next sweep"
	}
	return ""
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
