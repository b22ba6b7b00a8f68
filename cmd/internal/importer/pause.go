package importer

import (
	"context"
	"errors"
	"fmt"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// pause keeps all groups from compacting. Were blocks compacted while others still
// come, an import that is begun again would add the sources beside their results.
func (i *Import) pause(ctx context.Context) error {
	answer, err := call(ctx, i, i.cluster.Admin.CompactionStatus, &adminv1.CompactionStatusRequest{Limit: 1})
	if err != nil {
		return fmt.Errorf("ask for the state of compaction: %w", err)
	}
	var running []uint64
	for _, group := range answer.GetGroups() {
		switch {
		case group.GetError() != "":
			return fmt.Errorf("ask for the state of compaction: group %d: %s", group.GetGroupId(), group.GetError())
		case group.GetStatus().GetPaused():
			i.report.PausedBefore = append(i.report.PausedBefore, group.GetGroupId())
		default:
			running = append(running, group.GetGroupId())
		}
	}
	i.report.PausedHere = running // also if it is not known to be done
	return i.control(ctx, nodev1.ControlCompactionRequest_ACTION_PAUSE, "pause compaction")
}

// resume ends the pause of the groups that were not paused before. It is asked for
// after the import is complete, or before it began.
func (i *Import) resume(ctx context.Context) error {
	if err := i.control(ctx, nodev1.ControlCompactionRequest_ACTION_RESUME, "resume compaction"); err != nil {
		return fmt.Errorf("%w; repeat it with: skerry compaction resume", err)
	}
	i.report.PausedHere = nil
	return nil
}

func (i *Import) control(ctx context.Context, act nodev1.ControlCompactionRequest_Action, what string) error {
	if len(i.report.PausedHere) == 0 {
		return nil
	}
	answer, err := call(ctx, i, i.cluster.Admin.ControlCompaction, &adminv1.ControlCompactionRequest{Action: act, GroupIds: i.report.PausedHere})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var errs []error
	for _, group := range answer.GetGroups() {
		if group.GetError() != "" {
			errs = append(errs, fmt.Errorf("%s of group %d: %s", what, group.GetGroupId(), group.GetError()))
		}
	}
	return errors.Join(errs...)
}
