package shardgroup

import (
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/queue"
)

// backlog tells what waits, lowest level first, without levels at which nothing
// does. It reads totals only.
func backlog(v statemachine.View) ([]*nodev1.LevelBacklog, error) {
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
	return waiting, nil
}
