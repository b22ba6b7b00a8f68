package schedule

import (
	"fmt"

	"github.com/skerrydb/skerry/planner"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Answer is what the worker gets once the decision was applied: the leases it keeps
// first, then each new one with its job. Nothing about reported successes. job
// finds what the worker needs to know of a job.
func (d Decision) Answer(job func(name string) (*metastorev1.CompactionJob, error)) (*metastorev1.PollCompactionJobsResponse, error) {
	answer := &metastorev1.PollCompactionJobsResponse{}
	for _, grant := range d.Renew {
		answer.Assignments = append(answer.Assignments, grant.assignment())
	}
	for _, grant := range d.Assign {
		found, err := job(grant.Was.Name)
		if err != nil {
			return nil, fmt.Errorf("read job %s: %w", grant.Was.Name, err)
		}
		answer.CompactionJobs = append(answer.CompactionJobs, found)
		answer.Assignments = append(answer.Assignments, grant.assignment())
	}
	return answer, nil
}

func (g Grant) assignment() *metastorev1.CompactionJobAssignment {
	return &metastorev1.CompactionJobAssignment{Name: g.Was.Name, Token: g.Token, LeaseExpiresAt: int64(g.ExpiresAt)}
}

// WhyJob says why a job is not assigned now.
func WhyJob(job Job, config Config, now planner.Time) planner.Reason {
	switch {
	case config.Paused:
		return planner.Reason{Code: planner.Paused}
	case job.Status == InProgress && job.LeaseExpiresAt >= now:
		return planner.Reason{Code: planner.LeaseHeld, At: job.LeaseExpiresAt}
	case config.exhausted(job.Failures):
		return planner.Reason{
			Code: planner.FailuresExhausted, Have: int64(job.Failures), Want: int64(config.FailuresMax),
			At: job.LeaseExpiresAt.Add(config.GiveUpAfter),
		}
	}
	return planner.Reason{Code: planner.WaitingForPoll}
}
