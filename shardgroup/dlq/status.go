package dlq

import (
	"cmp"
	"slices"
	"time"
)

// Status tells how a recovery fares.
type Status struct {
	// When the queue was last listed to its end, and why it could not be since.
	ListedAt time.Time
	ListErr  error
	// By group.
	Groups []GroupStatus
	// Entries that wait after a failure, the next to be tried first; not all, if
	// Truncated.
	Failures  []Failure
	Truncated bool
}

// GroupStatus is of a group that the process leads.
type GroupStatus struct {
	Group uint64
	// Of the last sweep that has ended.
	Result
	// Since when each sweep has left as many entries as before, or more; zero if they
	// get fewer.
	StuckSince time.Time
	Sweeping   bool
}

// Failure is an entry that could not be recovered yet.
type Failure struct {
	Key      string
	Failures uint32
	Err      string
	RetryAt  time.Time
}

// FailuresMax bounds the failures that a status lists.
const FailuresMax = 100

// Status returns what the recovery knows, without asking the object store.
func (r *Recovery) Status() Status {
	var status Status
	r.mu.Lock()
	status.ListedAt, status.ListErr = r.listedAt, r.listErr
	r.mu.Unlock()
	for _, l := range r.all() {
		g := GroupStatus{Group: l.group}
		g.Result, g.StuckSince, _, g.Sweeping = l.state()
		status.Groups = append(status.Groups, g)
		l.troubles.each(func(name string, row trouble) {
			status.Failures = append(status.Failures, Failure{name, row.failures, row.err, row.notBefore})
		})
	}
	slices.SortFunc(status.Groups, func(a, b GroupStatus) int { return cmp.Compare(a.Group, b.Group) })
	slices.SortFunc(status.Failures, func(a, b Failure) int {
		return cmp.Or(a.RetryAt.Compare(b.RetryAt), cmp.Compare(a.Key, b.Key))
	})
	if len(status.Failures) > FailuresMax {
		status.Failures, status.Truncated = slices.Clone(status.Failures[:FailuresMax]), true
	}
	return status
}
