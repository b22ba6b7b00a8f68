package shardgroup

import (
	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// maxSilentJobs bounds the jobs of a level that are looked at one by one.
const maxSilentJobs = 64

// backlog tells what waits at a log time, lowest level first, without levels at
// which nothing does. It reads totals, and the first of those jobs whose owners
// fell silent: these wait for a worker, too.
func backlog(v statemachine.View, now planner.Time, config compaction.Config) ([]*nodev1.LevelBacklog, error) {
	var levels [queue.Levels]nodev1.LevelBacklog
	totals, err := v.Jobs.Totals()
	if err != nil {
		return nil, err
	}
	for _, total := range totals {
		switch level := &levels[min(total.Level, queue.Levels-1)]; {
		case total.InProgress:
			level.JobsInProgress += total.Jobs
		default:
			level.JobsWaiting += total.Jobs
		}
	}
	var waiting []*nodev1.LevelBacklog
	for n := range levels {
		level := &levels[n]
		level.Level = uint32(n)
		total, err := v.Queue.Totals(level.GetLevel())
		if err != nil {
			return nil, err
		}
		silent, err := silentJobs(v, level.GetLevel(), now)
		if err != nil {
			return nil, err
		}
		level.JobsWaiting += silent
		level.JobsInProgress -= min(level.JobsInProgress, silent)
		level.BlocksQueued, level.BlocksReturned = total.Blocks, total.Returned
		for key, err := range v.Queue.Oldest(level.GetLevel()) {
			if err != nil {
				return nil, err
			}
			level.Oldest = key.Oldest
			break
		}
		if level.GetJobsWaiting()+level.GetJobsInProgress()+level.GetBlocksQueued()+level.GetBlocksReturned() > 0 {
			waiting = append(waiting, level)
		}
	}
	deletions, err := dueDeletions(v, now, config)
	if deletions > 0 {
		waiting = append(waiting, &nodev1.LevelBacklog{Level: queue.Levels, JobsWaiting: deletions})
	}
	return waiting, err
}

// dueDeletions tells how many jobs without blocks the tombstones make that are
// due: one stands for any number. They ride on other jobs where there are any.
func dueDeletions(v statemachine.View, now planner.Time, config compaction.Config) (uint64, error) {
	if config.TombstonesMax == 0 {
		return 0, nil
	}
	for tombstone, err := range v.Tombstones.Waiting() {
		if err != nil {
			return 0, err
		}
		if planner.Time(tombstone.GetSince()).Add(config.TombstoneDelay) < now {
			return 1, nil
		}
		break
	}
	return 0, nil
}

// silentJobs counts jobs of a level whose lease has ended, up to maxSilentJobs.
func silentJobs(v statemachine.View, level uint32, now planner.Time) (uint64, error) {
	silent := uint64(0)
	for failures := uint32(0); failures <= schedule.FailuresCap; {
		class, any := failures, false
		for state, err := range v.Jobs.List(level, true, failures) {
			if err != nil {
				return 0, err
			}
			if !any {
				class, any = state.GetFailures(), true
			}
			// Within a number of failures they are in the order of their leases.
			if state.GetFailures() != class || state.GetLeaseExpiresAt() >= int64(now) {
				break
			}
			if silent++; silent == maxSilentJobs {
				return silent, nil
			}
		}
		if !any {
			break
		}
		failures = class + 1
	}
	return silent, nil
}
