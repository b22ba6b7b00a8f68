package compaction

import (
	"github.com/skerrydb/skerry/planner"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// tombstones puts the due ones, oldest first, on the planned jobs, and on jobs
// without blocks for as long as there is room. Each is put on one job only.
func (m *maker) tombstones() error {
	due, err := m.dueTombstones()
	if err != nil {
		return err
	}
	take := func() []Tombstone {
		n := min(m.config.TombstonesMax, len(due))
		taken := due[:n]
		due = due[n:]
		return taken
	}
	for i := range m.plan.Jobs {
		if job := &m.plan.Jobs[i]; m.carries(*job) {
			job.Tombstones = names(take())
		}
	}
	for len(due) > 0 && !m.full() {
		m.plan.Jobs = append(m.plan.Jobs, cleanup(take()))
	}
	return nil
}

func (m *maker) carries(job Job) bool { return job.Level < m.config.TombstoneLevels }

// dueTombstones reads as many as this plan can take.
func (m *maker) dueTombstones() ([]Tombstone, error) {
	jobs := m.jobsMax - len(m.plan.Jobs)
	for _, job := range m.plan.Jobs {
		if m.carries(job) {
			jobs++
		}
	}
	want := jobs * m.config.TombstonesMax
	var due []Tombstone
	if want <= 0 {
		return nil, nil
	}
	for tombstone, err := range m.view.Tombstones() {
		if err != nil {
			return nil, err
		}
		if tombstone.Since.Add(m.config.TombstoneDelay) >= m.now {
			break
		}
		due = append(due, tombstone)
		if len(due) == want {
			break
		}
	}
	return due, nil
}

// cleanup is a job without blocks. It belongs where its first tombstone does, and
// is named after its tombstones. No object has a level here: the lowest that fits
// the tenant says how urgent it is.
func cleanup(tombstones []Tombstone) Job {
	first := tombstones[0]
	job := Job{
		Tenant: first.Tenant, Shard: first.Shard, Tombstones: names(tombstones),
		Reason: planner.Reason{Code: planner.CleanupDue, Have: int64(len(tombstones))},
	}
	if job.Tenant != "" {
		job.Level = 1
	}
	job.Name = metastorev1.JobName(job.Tombstones, job.Tenant, job.Shard, job.Level)
	return job
}

func names(tombstones []Tombstone) []string {
	var names []string
	for _, tombstone := range tombstones {
		names = append(names, tombstone.Name)
	}
	return names
}
