package schedule

import (
	"github.com/skerrydb/skerry/planner"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// reports decides about each update. None makes the poll fail: that would cost the
// worker its other leases.
func (p *poll) reports(updates []Update) error {
	seen := map[string]bool{}
	for _, update := range updates {
		if seen[update.Name] {
			p.Reports = append(p.Reports, Report{update.Name, planner.Reason{Code: planner.RepeatedUpdate}})
			continue
		}
		seen[update.Name] = true
		reason, err := p.report(update)
		if err != nil {
			return err
		}
		p.Reports = append(p.Reports, Report{update.Name, reason})
		switch reason.Code {
		case planner.UnknownJob, planner.StaleToken, planner.NotLeased, planner.BadStatus:
			// The worker drops the job. That of a success it counts as free already.
			if update.Status != metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS {
				p.Slots++
			}
		}
	}
	return nil
}

func (p *poll) report(update Update) (planner.Reason, error) {
	success := update.Status == metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS
	if !success && update.Status != metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS {
		return planner.Reason{Code: planner.BadStatus, Have: int64(update.Status)}, nil
	}
	job, found, err := p.view.Job(update.Name)
	if err != nil {
		return planner.Reason{}, err
	}
	switch {
	case !found && success:
		return p.repeated(update)
	case !found:
		return planner.Reason{Code: planner.UnknownJob}, nil
	case job.Status != InProgress:
		return planner.Reason{Code: planner.NotLeased}, nil
	case job.Token != update.Token:
		// Also a larger one: none was handed out, so it is a guess.
		return planner.Reason{Code: planner.StaleToken}, nil
	}
	p.touched[job.Name] = true
	if success {
		return p.success(job, update)
	}
	expiresAt := p.Now.Add(p.config.Lease)
	reason := planner.Reason{Code: planner.Renewed, At: expiresAt}
	p.Renew = append(p.Renew, Grant{job.ref(), job.Token, expiresAt, job.Failures, reason})
	return reason, nil
}

// repeated tells a success whose answer was lost from one of a job that never was,
// or that somebody else finished.
func (p *poll) repeated(update Update) (planner.Reason, error) {
	token, found, err := p.view.Completed(update.Name)
	switch {
	case err != nil:
		return planner.Reason{}, err
	case !found:
		return planner.Reason{Code: planner.UnknownJob}, nil
	case token != update.Token:
		return planner.Reason{Code: planner.StaleToken}, nil
	}
	return planner.Reason{Code: planner.CompletedBefore}, nil
}
