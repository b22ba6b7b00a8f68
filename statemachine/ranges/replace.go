package ranges

import (
	"errors"
	"fmt"
	"math"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// Replacement puts ranges in the place of others: the same points, of the same
// group, one epoch on.
type Replacement struct{ before, after []*clusterv1.Range }

// NewReplacement checks what can be told from the ranges alone.
func NewReplacement(before, after []*clusterv1.Range) (*Replacement, error) {
	if len(before) == 0 || len(after) == 0 {
		return nil, errors.New("ranges are replaced by ranges: both are needed")
	}
	before, after = sorted(before), sorted(after)
	ids, epoch := map[uint64]bool{}, uint64(0)
	for i, row := range append(before[:len(before):len(before)], after...) {
		switch {
		case row.GetRangeId() == 0 || ids[row.GetRangeId()]:
			return nil, fmt.Errorf("range id %d is 0 or not unique", row.GetRangeId())
		case row.GetKeyspace() != before[0].GetKeyspace() || row.GetGroupId() != before[0].GetGroupId():
			return nil, fmt.Errorf("range %d is of another keyspace or group", row.GetRangeId())
		case i < len(before):
			epoch = max(epoch, row.GetEpoch())
		case epoch == math.MaxUint64 || row.GetEpoch() != epoch+1:
			return nil, fmt.Errorf("range %d has epoch %d, which must be the one after %d", row.GetRangeId(), row.GetEpoch(), epoch)
		case row.GetOperationId() != 0:
			return nil, fmt.Errorf("range %d has an operation, which is the directory's", row.GetRangeId())
		}
		ids[row.GetRangeId()] = true
	}
	was, is := span(before), span(after)
	if was == nil || is == nil || was.GetLo() != is.GetLo() || was.GetHi() != is.GetHi() {
		return nil, errors.New("the new ranges are not of the same points as the old ones, without hole and overlap")
	}
	return &Replacement{before, after}, nil
}

func sorted(rows []*clusterv1.Range) []*clusterv1.Range {
	return newTable(append([]*clusterv1.Range{}, rows...)).rows
}

// span returns what the ranges tile, nil if they have a hole or an overlap.
func span(rows []*clusterv1.Range) *clusterv1.RangeRef {
	whole := &clusterv1.RangeRef{Keyspace: rows[0].GetKeyspace(), Lo: rows[0].GetLo(), Hi: rows[len(rows)-1].GetHi()}
	for i, row := range rows {
		part := &clusterv1.RangeRef{Keyspace: row.GetKeyspace(), Lo: row.GetLo(), Hi: row.GetHi()}
		if !part.Valid() || i > 0 && (row.GetLo() == 0 || row.GetLo() != rows[i-1].GetHi()) {
			return nil
		}
	}
	return whole
}

// Group returns the group that owns the ranges.
func (r *Replacement) Group() uint64 { return r.before[0].GetGroupId() }

// Span returns the points whose ranges are replaced.
func (r *Replacement) Span() *clusterv1.RangeRef { return span(r.before) }

// Before and After return the ranges, in order of their points.
func (r *Replacement) Before() []*clusterv1.Range { return r.before }

// After returns the new ranges.
func (r *Replacement) After() []*clusterv1.Range { return r.after }

// Done tells whether the table holds the new ranges.
func (r *Replacement) Done(t Table) bool { return t.holds(r.after) }

// Fits tells whether the table holds the old ranges, and no range with the id of
// a new one.
func (r *Replacement) Fits(t Table) bool {
	for _, row := range r.after {
		if t.Row(row.GetRangeId()) != nil {
			return false
		}
	}
	return t.holds(r.before)
}

func (t Table) holds(rows []*clusterv1.Range) bool {
	for _, want := range rows {
		row := t.Row(want.GetRangeId())
		if row == nil || row.GetKeyspace() != want.GetKeyspace() || row.GetLo() != want.GetLo() || row.GetHi() != want.GetHi() || row.GetEpoch() != want.GetEpoch() {
			return false
		}
	}
	return true
}
