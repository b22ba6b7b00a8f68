package statemachine

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// controlCompaction does what an operator says.
func controlCompaction(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	control := &raftlogv1.ControlCompaction{}
	if err := control.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	switch control.GetAction() {
	case raftlogv1.ControlCompaction_ACTION_PAUSE:
		return u.pause(true), nil
	case raftlogv1.ControlCompaction_ACTION_RESUME:
		return u.pause(false), nil
	case raftlogv1.ControlCompaction_ACTION_RETRY_JOB, raftlogv1.ControlCompaction_ACTION_CANCEL_JOB:
		return u.controlJob(control)
	}
	return invalid(fmt.Errorf("no such action: %s", control.GetAction())), nil
}

func (u *update) pause(paused bool) *raftlogv1.Result {
	if u.header.paused == paused {
		return already()
	}
	u.header.paused = paused
	return ok()
}

func (u *update) controlJob(control *raftlogv1.ControlCompaction) (*raftlogv1.Result, error) {
	tables, err := u.openCompaction()
	if err != nil {
		return nil, err
	}
	was, err := tables.jobs.Get(control.GetJob())
	if err != nil {
		return nil, err
	}
	if was == nil {
		return conflict("there is no job %q", control.GetJob()), nil
	}
	if control.GetAction() == raftlogv1.ControlCompaction_ACTION_CANCEL_JOB {
		batch := &raftlogv1.BlockBatch{Blocks: was.GetJob().GetSources(), Attempts: was.GetJob().GetAttempts() + 1, NotBefore: u.header.logTime}
		return ok(), u.removeJob(was, []*raftlogv1.BlockBatch{batch})
	}
	if !was.GetInProgress() && was.GetFailures() == 0 {
		return already(), nil
	}
	is := proto.CloneOf(was)
	is.InProgress, is.LeaseExpiresAt, is.Failures, is.Revision = false, 0, 0, u.header.applied
	return ok(), tables.jobs.Put(was, is)
}
