package schedule

import (
	"cmp"
	"slices"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
)

// giveUp takes jobs apart that have failed too often and whose owner stays silent.
// Otherwise they would fill the queue, and their blocks wait for ever.
func (p *poll) giveUp() error {
	if p.config.FailuresMax == 0 || p.room() == 0 {
		return nil
	}
	for level := range p.config.Compaction.Levels {
		for _, status := range []Status{Unassigned, InProgress} {
			silent, err := p.silent(uint32(level), status, p.config.GiveUpsMax-len(p.GiveUp))
			if err != nil {
				return err
			}
			for _, job := range silent {
				if err := p.takeApart(job, planner.GivenUp); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// silent finds jobs to give up: at most limit.
func (p *poll) silent(level uint32, status Status, limit int) ([]Job, error) {
	var found []Job
	for failures := p.config.FailuresMax; failures <= FailuresCap && len(found) < limit; failures++ {
		class, err := p.failedClass(level, status, failures, p.Now.Add(-p.config.GiveUpAfter), limit-len(found))
		if err != nil {
			return nil, err
		}
		found = append(found, class.jobs...)
		failures = class.failures
	}
	return found, nil
}

// failedJobs are jobs of one level and status with the same number of failures.
type failedJobs struct {
	failures uint32
	jobs     []Job
}

// failedClass finds those jobs with the least failures, from a number on, whose
// lease ended before a moment: at most limit.
func (p *poll) failedClass(level uint32, status Status, failures uint32, before planner.Time, limit int) (failedJobs, error) {
	class := failedJobs{failures: FailuresCap}
	any := false
	for job, err := range p.view.Jobs(level, status, failures) {
		if err != nil {
			return failedJobs{}, err
		}
		if !any {
			class.failures, any = job.Failures, true
		}
		if job.Failures != class.failures || job.LeaseExpiresAt >= before || len(class.jobs) >= limit {
			break
		}
		if !p.touched[job.Name] {
			class.jobs = append(class.jobs, job)
		}
	}
	return class, nil
}

// evictable finds jobs that may make room in a full queue, worst first: most
// failures, then longest silent, then lowest level, then name. At most limit; only
// failed ones, and none whose owner still has a lease.
func (p *poll) evictable(limit int) ([]Job, error) {
	if p.config.FailuresMax == 0 || limit <= 0 {
		return nil, nil
	}
	var found []Job
	for level := range p.config.Compaction.Levels {
		for failures := p.config.FailuresMax; failures <= FailuresCap; failures++ {
			class, err := p.failedClass(uint32(level), InProgress, failures, p.Now, limit)
			if err != nil {
				return nil, err
			}
			found = append(found, class.jobs...)
			failures = class.failures
		}
	}
	slices.SortFunc(found, func(a, b Job) int {
		return cmp.Or(
			cmp.Compare(b.Failures, a.Failures), cmp.Compare(a.LeaseExpiresAt, b.LeaseExpiresAt),
			cmp.Compare(a.Level, b.Level), cmp.Compare(a.Name, b.Name),
		)
	})
	return found[:min(limit, len(found))], nil
}

// takeApart removes a job and gives its sources and tombstones back.
func (p *poll) takeApart(job Job, code planner.Code) error {
	plan, err := p.view.JobPlan(job.Name)
	if err != nil {
		return err
	}
	p.touched[job.Name] = true
	returned := p.halves(plan)
	reason := planner.Reason{Code: code, Have: int64(job.Failures)}
	if len(returned) > 0 {
		reason.At = returned[0].NotBefore
	}
	p.GiveUp = append(p.GiveUp, GiveUp{Was: job.ref(), Return: returned, Tombstones: plan.Tombstones, Reason: reason})
	return nil
}

// halves gives sources back as two batches, so that after a few rounds a block that
// cannot be compacted is alone and holds up no other.
func (p *poll) halves(plan compaction.Job) []compaction.Batch {
	attempts := plan.Attempts + 1
	notBefore := p.Now.Add(p.config.backoff(attempts))
	if p.config.AttemptsMax > 0 && attempts >= p.config.AttemptsMax {
		notBefore = planner.Never
	}
	var batches []compaction.Batch
	middle := (len(plan.Sources) + 1) / 2
	for _, half := range [][]string{plan.Sources[:middle], plan.Sources[middle:]} {
		if len(half) > 0 {
			batches = append(batches, compaction.Batch{
				Tenant: plan.Tenant, Shard: plan.Shard, Level: plan.Level,
				Blocks: half, Attempts: attempts, NotBefore: notBefore,
			})
		}
	}
	return batches
}
