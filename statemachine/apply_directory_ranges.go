package statemachine

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// startSplit begins to split a range in two.
func (c *directoryChange) startSplit(p *raftlogv1.StartSplit) (step, error) {
	if s, repeat, err := c.started(); repeat || err != nil {
		return s, err
	}
	row, refusal, err := c.freeRange(p.GetRangeId(), p.GetEpoch())
	if refusal != nil || err != nil {
		return step{refusal: refusal}, err
	}
	// The first point of the second part lies in the range and is not its first.
	if at := p.GetAt(); at == row.GetLo() || !row.Contains(at) {
		return refuse("range %d cannot be split at %016x: that must lie within it, %016x to %016x", row.GetRangeId(), at, row.GetLo(), row.GetHi())
	}
	rows, err := c.w.CountRanges()
	if err != nil {
		return step{}, err
	}
	running, err := c.w.Operations()
	if err != nil {
		return step{}, err
	}
	for _, op := range running {
		if op.GetState() == clusterv1.Operation_STATE_RUNNING && op.GetKind() == clusterv1.Operation_KIND_SPLIT {
			rows++
		}
	}
	if rows >= maxRanges {
		return refuse("the cluster has %d ranges and can have no more: merge ranges first", rows)
	}
	return c.start(clusterv1.Operation_KIND_SPLIT, []*clusterv1.Range{row}, p.GetAt())
}

// startMerge begins to merge a range with the next one.
func (c *directoryChange) startMerge(p *raftlogv1.StartMerge) (step, error) {
	if s, repeat, err := c.started(); repeat || err != nil {
		return s, err
	}
	first, refusal, err := c.freeRange(p.GetRangeId(), p.GetEpoch())
	if refusal != nil || err != nil {
		return step{refusal: refusal}, err
	}
	second, refusal, err := c.freeRange(p.GetNextRangeId(), p.GetNextEpoch())
	if refusal != nil || err != nil {
		return step{refusal: refusal}, err
	}
	switch {
	case first.GetKeyspace() != second.GetKeyspace() || first.GetHi() == 0 || first.GetHi() != second.GetLo():
		return refuse("range %d does not follow range %d: only neighbours can be merged", second.GetRangeId(), first.GetRangeId())
	case first.GetGroupId() != second.GetGroupId():
		return refuse("range %d is in group %d, range %d in group %d: only ranges of one group can be merged", first.GetRangeId(), first.GetGroupId(), second.GetRangeId(), second.GetGroupId())
	}
	return c.start(clusterv1.Operation_KIND_MERGE, []*clusterv1.Range{first, second})
}

// started tells whether the command began an operation before.
func (c *directoryChange) started() (s step, repeat bool, err error) {
	if !c.repeatable() {
		s, err := badChange(noRequestID)
		return s, true, err
	}
	known, err := c.w.Operations()
	if err != nil {
		return step{}, false, err
	}
	for _, op := range known {
		if bytes.Equal(op.GetRequestId(), c.requestID) {
			c.outcome.OperationId, c.outcome.GroupId = op.GetOperationId(), op.GetGroupId()
			return step{}, true, nil
		}
	}
	return step{}, false, nil
}

// freeRange returns a range that no operation is about to replace.
func (c *directoryChange) freeRange(id, epoch uint64) (*clusterv1.Range, *raftlogv1.Result, error) {
	row, err := c.w.Range(id)
	switch {
	case err != nil:
		return nil, nil, err
	case row == nil:
		return nil, conflict("there is no range %d: it was split or merged since; read the map and decide again", id), nil
	case row.GetEpoch() != epoch:
		return nil, conflict("range %d is at epoch %d, not %d: read the map and decide again", id, row.GetEpoch(), epoch), nil
	case row.GetOperationId() != 0:
		return nil, conflict("operation %d is about to replace range %d: wait until it has ended", row.GetOperationId(), id), nil
	}
	return row, nil, nil
}

// start returns the step that begins to replace neighbouring ranges by new ones,
// which begin at the first one's first point and at the cuts.
func (c *directoryChange) start(kind clusterv1.Operation_Kind, rows []*clusterv1.Range, cuts ...uint64) (step, error) {
	return step{apply: func() error {
		op := &clusterv1.Operation{
			OperationId: allocate(&c.cluster.NextOperationId), Kind: kind, State: clusterv1.Operation_STATE_RUNNING,
			GroupId: rows[0].GetGroupId(), Actor: text(c.GetActor()), Reason: text(c.GetReason()), StartedAt: c.now, RequestId: c.requestID,
		}
		epoch := uint64(0)
		for _, row := range rows {
			op.Before = append(op.Before, proto.CloneOf(row))
			epoch = max(epoch, row.GetEpoch()+1)
			row.OperationId = op.GetOperationId()
			if err := c.w.PutRange(row); err != nil {
				return err
			}
		}
		lo := rows[0].GetLo()
		for _, hi := range append(cuts, rows[len(rows)-1].GetHi()) {
			op.After = append(op.After, &clusterv1.Range{
				RangeId: allocate(&c.cluster.NextRangeId), Keyspace: rows[0].GetKeyspace(), Lo: lo, Hi: hi, GroupId: op.GetGroupId(), Epoch: epoch,
			})
			lo = hi
		}
		c.outcome.OperationId, c.outcome.GroupId = op.GetOperationId(), op.GetGroupId()
		return c.w.PutOperation(op)
	}}, nil
}

// finishOperation ends an operation, and puts the new ranges in place of the old
// ones if it is done.
func (c *directoryChange) finishOperation(p *raftlogv1.FinishOperation) (step, error) {
	op, err := c.w.Operation(p.GetOperationId())
	if err != nil {
		return step{}, err
	}
	if op == nil {
		return refuse("operation %d is not known: it never began, or ended long ago", p.GetOperationId())
	}
	c.outcome.OperationId, c.outcome.GroupId = op.GetOperationId(), op.GetGroupId()
	end := clusterv1.Operation_STATE_DONE
	if p.GetError() != "" {
		end = clusterv1.Operation_STATE_FAILED
	}
	switch op.GetState() {
	case clusterv1.Operation_STATE_RUNNING:
	case end:
		return step{}, nil
	default:
		return refuse("operation %d has ended already, and otherwise: it is %s", op.GetOperationId(), op.GetState())
	}
	return step{apply: func() error {
		op.State, op.Error, op.EndedAt = end, text(p.GetError()), c.now
		if err := c.w.PutOperation(op); err != nil {
			return err
		}
		if err := c.settle(op); err != nil {
			return err
		}
		return c.forgetEnded(op.GetOperationId())
	}}, nil
}

// settle takes the operation off its ranges, and replaces them if it is done.
func (c *directoryChange) settle(op *clusterv1.Operation) error {
	for _, before := range op.GetBefore() {
		row, err := c.w.Range(before.GetRangeId())
		if err != nil {
			return err
		}
		if row.GetOperationId() != op.GetOperationId() {
			return fmt.Errorf("directory: operation %d runs, but range %d is not marked with it", op.GetOperationId(), before.GetRangeId())
		}
		if op.GetState() == clusterv1.Operation_STATE_DONE {
			err = c.w.DeleteRange(row.GetRangeId())
		} else {
			row.OperationId = 0
			err = c.w.PutRange(row)
		}
		if err != nil {
			return err
		}
	}
	if op.GetState() != clusterv1.Operation_STATE_DONE {
		return nil
	}
	for _, row := range op.GetAfter() {
		if err := c.w.PutRange(row); err != nil {
			return err
		}
	}
	return nil
}

// forgetEnded keeps the last operations that ended, and the newest of them
// whatever the clocks say.
func (c *directoryChange) forgetEnded(newest uint64) error {
	known, err := c.w.Operations()
	if err != nil {
		return err
	}
	ended := slices.DeleteFunc(known, func(op *clusterv1.Operation) bool {
		return op.GetState() == clusterv1.Operation_STATE_RUNNING || op.GetOperationId() == newest
	})
	slices.SortStableFunc(ended, func(a, b *clusterv1.Operation) int { return cmp.Compare(a.GetEndedAt(), b.GetEndedAt()) })
	for len(ended) >= maxEnded {
		if err := c.w.DeleteOperation(ended[0].GetOperationId()); err != nil {
			return err
		}
		ended = ended[1:]
	}
	return nil
}
