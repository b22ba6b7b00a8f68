package schedule

import (
	"fmt"
	"math"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Request is a worker's poll.
type Request struct {
	// Jobs that the worker can start.
	Capacity uint32
	Updates  []Update
	// Nothing is assigned, created or given up: whoever asks offers the slots
	// (Decision.Slots) elsewhere first.
	ReportsOnly bool
}

// Update is a worker's report about one job.
type Update struct {
	Name   string
	Token  uint64
	Status metastorev1.CompactionJobStatus
	// With success only; may be nil.
	Result *metastorev1.CompactedBlocks
	// Sources whose objects are known to be missing, by whoever could look: nobody
	// else knows why a success is without blocks. May be empty.
	Missing []string
}

// FromPoll translates a request.
func FromPoll(request *metastorev1.PollCompactionJobsRequest) Request {
	r := Request{Capacity: request.GetJobCapacity()}
	for _, update := range request.GetStatusUpdates() {
		r.Updates = append(r.Updates, Update{
			Name: update.GetName(), Token: update.GetToken(), Status: update.GetStatus(), Result: update.GetCompactedBlocks(),
		})
	}
	return r
}

// Poll decides a poll: first the reports, then assignments, then failed jobs, then
// new jobs, which are not assigned yet.
func Poll(view View, config Config, now planner.Time, request Request) (Decision, error) {
	lastToken, err := view.LastToken()
	if err != nil {
		return Decision{}, fmt.Errorf("read last token: %w", err)
	}
	p := poll{
		view: view, config: config, reportsOnly: request.ReportsOnly, touched: map[string]bool{},
		Decision: Decision{Now: now, LastToken: lastToken, Slots: slots(request.Capacity)},
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"take reports", func() error { return p.reports(request.Updates) }},
		{"assign jobs", p.assign},
		{"give up jobs", p.giveUp},
		{"create jobs", p.create},
	} {
		if err := step.do(); err != nil {
			return Decision{}, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return p.Decision, nil
}

func slots(capacity uint32) int { return int(min(capacity, math.MaxInt32/2)) }

type poll struct {
	view        View
	config      Config
	reportsOnly bool
	Decision
	// Jobs that the decision changes already.
	touched map[string]bool
}

func (p *poll) room() int {
	if p.config.Paused || p.reportsOnly {
		return 0
	}
	return min(p.Slots, p.config.PollJobsMax)
}

func (p *poll) create() error {
	if p.config.Paused {
		p.Stopped = planner.Reason{Code: planner.Paused}
		return nil
	}
	want := p.room()
	if want == 0 {
		p.Stopped = planner.Reason{Code: planner.CapacityUsed}
		return nil
	}
	jobs, err := p.view.JobsCount()
	if err != nil {
		return err
	}
	jobs -= len(p.Complete) + len(p.GiveUp)
	// Jobs are evicted only if there are others to take their place.
	free := min(want, p.config.Compaction.Room(jobs))
	candidates, err := p.evictable(want - free)
	if err != nil {
		return err
	}
	queueFull := planner.Reason{Code: planner.JobQueueFull, Have: int64(jobs), Want: int64(p.config.Compaction.JobsMax)}
	if free+len(candidates) == 0 {
		p.Stopped = queueFull
		return nil
	}
	plan, err := compaction.Make(p.view, p.config.Compaction, p.Now, free+len(candidates))
	if err != nil {
		return err
	}
	p.Stopped = plan.Stopped
	for _, job := range plan.Jobs {
		// One of the same tombstones may exist still: what it is for comes with it.
		if _, exists, err := p.view.Job(job.Name); err != nil {
			return err
		} else if !exists {
			p.Create = append(p.Create, job)
		}
	}
	if free < want && len(plan.Jobs) == free+len(candidates) {
		p.Stopped = queueFull
	}
	for _, job := range candidates[:max(0, len(plan.Jobs)-free)] {
		if err := p.takeApart(job, planner.Evicted); err != nil {
			return err
		}
	}
	return nil
}
