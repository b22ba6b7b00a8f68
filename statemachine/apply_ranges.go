package statemachine

import (
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/ranges"
)

// replaceRanges splits or merges ranges of the group. Data lies by points, so
// none of it moves; who believes in the old ranges is refused from here on.
func replaceRanges(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	replace := &raftlogv1.ReplaceRanges{}
	if err := replace.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	r, err := ranges.NewReplacement(replace.GetBefore(), replace.GetAfter())
	if err != nil {
		return invalid(err), nil
	}
	if u.header.groupID == 0 {
		// It is known again once the group has its ranges: no conflict.
		return u.owns(r.Span()), nil
	}
	own := r.Group() == u.header.groupID
	if own && r.Done(u.ranges) {
		return already(), nil
	}
	if !own || !r.Fits(u.ranges) {
		result := conflict("group %d does not own the ranges that operation %d replaces as it knows them", u.header.groupID, replace.GetOperationId())
		result.Route = &clusterv1.RouteError{
			Reason: clusterv1.RouteError_REASON_NOT_OWNER, GroupId: u.header.groupID, Current: u.ranges.Overlapping(r.Span()),
		}
		return result, nil
	}
	for _, row := range r.Before() {
		if err := ranges.Delete(u.tx, row.GetRangeId()); err != nil {
			return nil, err
		}
	}
	for _, row := range r.After() {
		if err := ranges.Put(u.tx, row); err != nil {
			return nil, err
		}
	}
	u.ranges, err = ranges.Load(u.tx)
	return ok(), err
}
