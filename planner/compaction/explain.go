package compaction

import "github.com/skerrydb/skerry/planner"

// WhyKey says why the blocks of a key are not in a job yet. outboxFull is what
// View.OutboxFull says of its shard.
func WhyKey(key Key, config Config, now planner.Time, outboxFull bool) planner.Reason {
	if int(key.Level) >= len(config.Levels) {
		return planner.Reason{Code: planner.NothingDue}
	}
	rules := config.Levels[key.Level]
	due := key.Blocks >= rules.BlocksMax || key.Oldest.Add(rules.AgeMax) < now
	switch {
	case !due:
		return planner.Reason{
			Code: planner.WaitingForBlocks, Have: int64(key.Blocks), Want: int64(rules.BlocksMax), At: key.Oldest.Add(rules.AgeMax),
		}
	case outboxFull && key.Level == 0:
		return planner.Reason{Code: planner.OutboxFull, Have: int64(key.Shard)}
	}
	return planner.Reason{Code: planner.WaitingForPoll}
}

// WhyBatch says why the blocks that a failed job gave back are not in a job yet.
func WhyBatch(batch Batch, now planner.Time, outboxFull bool) planner.Reason {
	switch {
	case batch.NotBefore == planner.Never:
		return planner.Reason{Code: planner.Abandoned, Have: int64(batch.Attempts)}
	case batch.NotBefore > now:
		return planner.Reason{Code: planner.BackingOff, Have: int64(batch.Attempts) + 1, At: batch.NotBefore}
	case outboxFull && batch.Level == 0:
		return planner.Reason{Code: planner.OutboxFull, Have: int64(batch.Shard)}
	}
	return planner.Reason{Code: planner.WaitingForPoll}
}
