package schedule

import "github.com/skerrydb/skerry/planner"

// assign fills the free slots: lowest level first, in it unassigned jobs first, then
// those whose owners fell silent; of these, those with the fewest failures first.
func (p *poll) assign() error {
	for level := range p.config.Compaction.Levels {
		if err := p.assignWaiting(uint32(level)); err != nil {
			return err
		}
		if err := p.assignSilent(uint32(level)); err != nil {
			return err
		}
	}
	return nil
}

func (p *poll) assigned() bool { return len(p.Assign) >= p.room() }

func (p *poll) assignWaiting(level uint32) error {
	if p.assigned() {
		return nil
	}
	for job, err := range p.view.Jobs(level, Unassigned, 0) {
		if err != nil {
			return err
		}
		if p.config.exhausted(job.Failures) {
			return nil
		}
		if p.touched[job.Name] {
			continue
		}
		p.grant(job, job.Failures, planner.Reason{Code: planner.AssignedNew})
		if p.assigned() {
			return nil
		}
	}
	return nil
}

// assignSilent looks at the first leases of each number of failures.
func (p *poll) assignSilent(level uint32) error {
	for failures := uint32(0); !p.assigned() && !p.config.exhausted(failures) && failures <= FailuresCap; {
		next, err := p.assignClass(level, failures)
		if err != nil {
			return err
		}
		failures = next
	}
	return nil
}

// assignClass goes through the jobs with the least failures from a number on, and
// tells the number to go on with.
func (p *poll) assignClass(level, failures uint32) (next uint32, err error) {
	class, found := failures, false
	for job, err := range p.view.Jobs(level, InProgress, failures) {
		if err != nil {
			return 0, err
		}
		if !found {
			class, found = job.Failures, true
		}
		if job.Failures != class || job.LeaseExpiresAt >= p.Now || p.config.exhausted(class) {
			return class + 1, nil
		}
		if p.touched[job.Name] {
			continue
		}
		p.grant(job, failed(job), planner.Reason{Code: planner.AssignedAgain, Have: int64(failed(job)), At: job.LeaseExpiresAt})
		if p.assigned() {
			break
		}
	}
	if !found {
		return FailuresCap + 1, nil
	}
	return class + 1, nil
}

func (p *poll) grant(job Job, failures uint32, reason planner.Reason) {
	p.touched[job.Name] = true
	p.Assign = append(p.Assign, Grant{
		Was: job.ref(), Token: p.LastToken + uint64(len(p.Assign)) + 1,
		ExpiresAt: p.Now.Add(p.config.Lease), Failures: failures, Reason: reason,
	})
}
