package jobs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// Total is how many jobs are in one state.
type Total struct {
	Level      uint32
	InProgress bool
	Failures   uint32
	// At least 1.
	Jobs uint64
}

// totalsRow holds all totals. They change with nearly every job: in rows of their own, each
// reader would step over all that they were lately.
var totalsRow = []byte("totals")

const totalSize = 1 + 1 + 4 + 8

// kind is a state that jobs are counted by.
type kind struct {
	level      uint32
	inProgress bool
	failures   uint32
}

// count adds to the totals, which Flush writes.
func (w *Writer) count(state *raftlogv1.JobState, by int) error {
	if w.sums == nil {
		totals, err := decodeTotals(w.totals.Get(totalsRow))
		if err != nil {
			return err
		}
		w.sums = map[kind]uint64{}
		for _, t := range totals {
			w.sums[kind{t.Level, t.InProgress, t.Failures}] = t.Jobs
		}
	}
	k := kind{state.GetJob().GetLevel(), state.GetInProgress(), state.GetFailures()}
	jobs := w.sums[k] + uint64(by)
	if int64(jobs) < 0 {
		return fmt.Errorf("%w: fewer than no jobs like %q", errRow, state.GetJob().GetName())
	}
	w.sums[k] = jobs
	return nil
}

// Flush writes the totals. It must be called before the transaction commits.
func (w *Writer) Flush() error {
	if w.sums == nil {
		return nil
	}
	var totals []Total
	for k, jobs := range w.sums {
		if jobs > 0 {
			totals = append(totals, Total{k.level, k.inProgress, k.failures, jobs})
		}
	}
	slices.SortFunc(totals, compareTotals)
	var row []byte
	for _, t := range totals {
		row = append(row, orderPrefix(t.Level, t.InProgress, t.Failures)...)
		row = binary.BigEndian.AppendUint64(row, t.Jobs)
	}
	return w.totals.Put(totalsRow, row)
}

func compareTotals(a, b Total) int {
	owner := func(t Total) int {
		if t.InProgress {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(owner(a), owner(b)), cmp.Compare(a.Failures, b.Failures))
}

func decodeTotals(row []byte) ([]Total, error) {
	if len(row)%totalSize != 0 {
		return nil, errRow
	}
	var all []Total
	for ; len(row) > 0; row = row[totalSize:] {
		all = append(all, Total{uint32(row[0]), row[1] == 1, binary.BigEndian.Uint32(row[2:]), binary.BigEndian.Uint64(row[6:])})
	}
	return all, nil
}

// Totals counts the jobs by level, owner and failures, in this order. It reads one row.
func (v View) Totals() ([]Total, error) {
	if v.totals == nil {
		return nil, nil
	}
	return decodeTotals(v.totals.Get(totalsRow))
}
