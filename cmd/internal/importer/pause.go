package importer

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// pause keeps all groups from compacting. Were blocks compacted while others still
// come, an import that is begun again would add the sources beside their results.
func (i *Import) pause(ctx context.Context) error {
	answer, err := call(ctx, i, i.compactionStatus, &adminv1.CompactionStatusRequest{Limit: 1})
	if err != nil {
		return fmt.Errorf("ask for the state of compaction: %w", err)
	}
	var running []uint64
	for _, group := range answer.GetGroups() {
		if group.GetStatus().GetPaused() {
			i.report.PausedBefore = append(i.report.PausedBefore, group.GetGroupId())
		} else {
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
	_, err := call(ctx, i, i.controlCompaction, &adminv1.ControlCompactionRequest{Action: act, GroupIds: i.report.PausedHere})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// A group that does not answer is told in the answer. Here it fails the call, so that
// it is repeated: a leader may be elected meanwhile.

func (i *Import) compactionStatus(ctx context.Context, request *adminv1.CompactionStatusRequest, options ...grpc.CallOption) (*adminv1.CompactionStatusResponse, error) {
	answer, err := i.cluster.Admin.CompactionStatus(ctx, request, options...)
	if err != nil {
		return nil, err
	}
	return answer, silent(answer.GetGroups())
}

func (i *Import) controlCompaction(ctx context.Context, request *adminv1.ControlCompactionRequest, options ...grpc.CallOption) (*adminv1.ControlCompactionResponse, error) {
	answer, err := i.cluster.Admin.ControlCompaction(ctx, request, options...)
	if err != nil {
		return nil, err
	}
	return answer, silent(answer.GetGroups())
}

// silent tells of the first group that did not answer.
func silent[G interface {
	GetGroupId() uint64
	GetError() string
}](groups []G) error {
	for _, group := range groups {
		if group.GetError() != "" {
			return status.Errorf(codes.Unavailable, "group %d: %s", group.GetGroupId(), group.GetError())
		}
	}
	return nil
}
