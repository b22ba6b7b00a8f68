package sim

import (
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
)

// TestInvariantsCanFail breaks the planner in one way after the other. Each must be
// noticed, by the invariant that is there for it.
func TestInvariantsCanFail(t *testing.T) {
	for _, c := range []struct {
		name string
		// How a violation begins.
		want  string
		trust bool
		// Nil for the planner as it is.
		poll   Planner
		config func(*schedule.Config)
	}{
		{name: "each block in two jobs", want: "two jobs", trust: true, poll: after(func(d *schedule.Decision) {
			for _, job := range d.Create {
				job.Name, job.Tombstones = "again-"+job.Name, nil
				d.Create = append(d.Create, job)
			}
		})},
		{name: "blocks of failed jobs dropped", want: "forgotten", poll: after(func(d *schedule.Decision) {
			for i := range d.GiveUp {
				d.GiveUp[i].Return = nil
			}
		})},
		{name: "blocks of empty results dropped", want: "forgotten", poll: after(func(d *schedule.Decision) {
			for i := range d.Complete {
				d.Complete[i].Return = nil
			}
		})},
		{name: "highest level assigned first", want: "order: assigned", poll: through(func(t schedule.View) schedule.View { return upsideDown{t} })},
		{name: "level 0 created last", want: "order: a job of level", poll: through(func(t schedule.View) schedule.View { return noSegments{t} })},
		{name: "no limit of jobs", want: "queue unbounded", config: func(c *schedule.Config) { c.Compaction.JobsMax = 0 }},
		{name: "token counter forgotten", want: "token repeated", trust: true, poll: through(func(t schedule.View) schedule.View { return noToken{t} })},
		{name: "leases end early", want: "two holders: job", poll: through(func(t schedule.View) schedule.View { return hasty{t} })},
		{name: "anybody's report counts", want: "two holders: a report", poll: anybody},
		{name: "tombstones at once", want: "tombstone early", config: func(c *schedule.Config) { c.Compaction.TombstoneDelay = 0 }},
		{name: "tombstones of failed jobs dropped", want: "tombstone lost", poll: after(func(d *schedule.Decision) {
			for i := range d.GiveUp {
				d.GiveUp[i].Tombstones = nil
			}
		})},
		{name: "a tombstone on two jobs", want: "tombstone lost", trust: true, poll: after(func(d *schedule.Decision) {
			for i := range d.Create {
				d.Create[i].Tombstones = d.Create[0].Tombstones
			}
		})},
		{name: "nothing created", want: "no progress", poll: after(func(d *schedule.Decision) { d.Create = nil })},
		{name: "nothing assigned", want: "no progress", poll: after(func(d *schedule.Decision) { d.Assign = nil })},
		{name: "nothing given up", want: "no progress", poll: after(func(d *schedule.Decision) {
			d.GiveUp = slices.DeleteFunc(d.GiveUp, func(up schedule.GiveUp) bool { return up.Reason.Code != planner.Evicted })
		})},
		{name: "stale decisions applied", want: "", trust: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for s := uint64(1); s <= 300; s++ {
				o := options(s)
				o.Trust = c.trust
				if c.poll != nil {
					o.Poll = c.poll
				}
				if c.config != nil {
					c.config(&o.Config)
				}
				if err := Run(o); err != nil && strings.Contains(err.Error(), ": "+c.want) {
					return
				}
			}
			t.Errorf("nobody noticed: no %q", c.want)
		})
	}
}

// after changes what the planner decided.
func after(change func(*schedule.Decision)) Planner {
	return func(view schedule.View, config schedule.Config, now planner.Time, request schedule.Request) (schedule.Decision, error) {
		d, err := schedule.Poll(view, config, now, request)
		change(&d)
		return d, err
	}
}

// through shows the planner something else.
func through(wrap func(schedule.View) schedule.View) Planner {
	return func(view schedule.View, config schedule.Config, now planner.Time, request schedule.Request) (schedule.Decision, error) {
		return schedule.Poll(wrap(view), config, now, request)
	}
}

func anybody(view schedule.View, config schedule.Config, now planner.Time, request schedule.Request) (schedule.Decision, error) {
	var forged schedule.Request
	forged.Capacity = request.Capacity
	for _, update := range request.Updates {
		if job, found, _ := view.Job(update.Name); found {
			update.Token = job.Token
		}
		forged.Updates = append(forged.Updates, update)
	}
	return schedule.Poll(view, config, now, forged)
}

type upsideDown struct{ schedule.View }

func (u upsideDown) Jobs(level uint32, status schedule.Status, failuresMin uint32) iter.Seq2[schedule.Job, error] {
	return u.View.Jobs(2-level, status, failuresMin)
}

type noSegments struct{ schedule.View }

func (n noSegments) OldestKeys(level uint32) iter.Seq2[compaction.Key, error] {
	if level == 0 {
		return func(func(compaction.Key, error) bool) {}
	}
	return n.View.OldestKeys(level)
}

type noToken struct{ schedule.View }

func (noToken) LastToken() (uint64, error) { return 0, nil }

type hasty struct{ schedule.View }

func (h hasty) Jobs(level uint32, status schedule.Status, failuresMin uint32) iter.Seq2[schedule.Job, error] {
	return func(yield func(schedule.Job, error) bool) {
		for job, err := range h.View.Jobs(level, status, failuresMin) {
			if status == schedule.InProgress {
				job.LeaseExpiresAt = job.LeaseExpiresAt.Add(-10 * time.Second)
			}
			if !yield(job, err) {
				return
			}
		}
	}
}
