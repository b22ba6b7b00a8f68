package sim

import (
	"fmt"
	"slices"

	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
)

// Apply applies a decision as a whole, or refuses it and changes nothing.
func (t *Tables) Apply(d schedule.Decision) error {
	if err := t.check(d); err != nil && !t.Trust {
		return fmt.Errorf("stale decision: %w", err)
	}
	t.Now = max(t.Now, d.Now)
	for _, grant := range d.Renew {
		t.grant(grant)
	}
	for _, completion := range d.Complete {
		t.complete(completion)
	}
	for _, failure := range d.Fail {
		if row := t.jobs[failure.Was.Name]; row != nil {
			t.change(row, func(state *schedule.Job) {
				state.Status, state.LeaseExpiresAt, state.Failures = schedule.Unassigned, 0, failure.Failures
			})
		}
	}
	for _, up := range d.GiveUp {
		t.giveUp(up)
	}
	for _, grant := range d.Assign {
		t.grant(grant)
		t.lastToken = max(t.lastToken, grant.Token)
	}
	for _, job := range d.Create {
		t.create(job)
	}
	return nil
}

func (t *Tables) check(d schedule.Decision) error {
	if d.LastToken != t.lastToken {
		return fmt.Errorf("last token is %d, not %d", t.lastToken, d.LastToken)
	}
	for _, was := range refs(d) {
		if row := t.jobs[was.Name]; row == nil || row.state.Revision != was.Revision {
			return fmt.Errorf("job %s has changed", was.Name)
		}
	}
	for _, job := range d.Create {
		if t.jobs[job.Name] != nil {
			return fmt.Errorf("job %s exists", job.Name)
		}
		if !t.holds(job) {
			return fmt.Errorf("sources of job %s are not there", job.Name)
		}
		for _, name := range job.Tombstones {
			if !slices.ContainsFunc(t.free.rows, func(free compaction.Tombstone) bool { return free.Name == name }) {
				return fmt.Errorf("tombstone %s is not free", name)
			}
		}
	}
	return nil
}

func refs(d schedule.Decision) (all []schedule.Ref) {
	for _, grant := range slices.Concat(d.Renew, d.Assign) {
		all = append(all, grant.Was)
	}
	for _, completion := range d.Complete {
		all = append(all, completion.Was)
	}
	for _, failure := range d.Fail {
		all = append(all, failure.Was)
	}
	for _, up := range d.GiveUp {
		all = append(all, up.Was)
	}
	return all
}

// holds tells whether a job's sources wait.
func (t *Tables) holds(job compaction.Job) bool {
	if job.Attempts > 0 {
		return slices.ContainsFunc(t.returned[job.Level].rows, func(batch compaction.Batch) bool { return batch.Name() == job.Name })
	}
	row := t.queues[queueID{job.Level, job.Tenant, job.Shard}]
	for _, id := range job.Sources {
		if row == nil || !slices.ContainsFunc(row.places.rows, func(place compaction.Place) bool { return place.ID == id }) {
			return false
		}
	}
	return true
}

func (t *Tables) change(row *jobRow, change func(*schedule.Job)) {
	t.order.drop(row.state)
	change(&row.state)
	t.revisions++
	row.state.Revision = t.revisions
	t.order.put(row.state)
}

func (t *Tables) grant(grant schedule.Grant) {
	if row := t.jobs[grant.Was.Name]; row != nil {
		t.change(row, func(state *schedule.Job) {
			state.Status, state.Token = schedule.InProgress, grant.Token
			state.LeaseExpiresAt, state.Failures = grant.ExpiresAt, grant.Failures
		})
	}
}

func (t *Tables) complete(c schedule.Completion) {
	row := t.jobs[c.Was.Name]
	if row == nil {
		return
	}
	t.order.drop(row.state)
	delete(t.jobs, c.Was.Name)
	t.completed[c.Was.Name] = c.Token
	for _, block := range c.NewBlocks {
		t.Add(block.GetId(), block.TenantName(), block.GetShard(), block.GetCompactionLevel())
	}
	if len(c.Sources) > 0 {
		t.AddTombstone(c.Was.Name, c.Tenant, c.Shard)
	}
	for _, batch := range c.Return {
		t.returned[batch.Level].put(batch)
	}
}

func (t *Tables) giveUp(up schedule.GiveUp) {
	row := t.jobs[up.Was.Name]
	if row == nil {
		return
	}
	t.order.drop(row.state)
	delete(t.jobs, up.Was.Name)
	for _, batch := range up.Return {
		t.returned[batch.Level].put(batch)
	}
	for _, tombstone := range row.tombstones {
		if slices.Contains(up.Tombstones, tombstone.Name) {
			tombstone.Since = t.Now
			t.free.put(tombstone)
		}
	}
}

func (t *Tables) create(job compaction.Job) {
	t.revisions++
	row := &jobRow{plan: job, state: schedule.Job{Name: job.Name, Level: job.Level, CreatedAt: t.Now, Revision: t.revisions}}
	if job.Attempts > 0 {
		t.returned[job.Level].rows = slices.DeleteFunc(t.returned[job.Level].rows, func(batch compaction.Batch) bool {
			return batch.Name() == job.Name
		})
	} else if queue := t.queues[queueID{job.Level, job.Tenant, job.Shard}]; queue != nil {
		t.reorder(queue, func() {
			queue.places.rows = slices.DeleteFunc(queue.places.rows, func(place compaction.Place) bool {
				return slices.Contains(job.Sources, place.ID)
			})
		})
	}
	t.free.rows = slices.DeleteFunc(t.free.rows, func(free compaction.Tombstone) bool {
		if !slices.Contains(job.Tombstones, free.Name) {
			return false
		}
		row.tombstones = append(row.tombstones, free)
		return true
	})
	if old := t.jobs[job.Name]; old != nil {
		t.order.drop(old.state)
	}
	t.jobs[job.Name] = row
	t.order.put(row.state)
}
