package jobs

import (
	"encoding/binary"
	"fmt"

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

func (w *Writer) count(state *raftlogv1.JobState, by int) error {
	key := orderPrefix(state.GetJob().GetLevel(), state.GetInProgress(), state.GetFailures())
	var jobs uint64
	if stored := w.totals.Get(key); len(stored) == 8 {
		jobs = binary.BigEndian.Uint64(stored)
	}
	jobs += uint64(by)
	switch {
	case int64(jobs) < 0:
		return fmt.Errorf("%w: fewer than no jobs like %q", errRow, state.GetJob().GetName())
	case jobs == 0:
		return w.totals.Delete(key)
	}
	return w.totals.Put(key, binary.BigEndian.AppendUint64(nil, jobs))
}

// Totals counts the jobs by level, owner and failures, in this order. It reads a
// row for each total, none for jobs.
func (v View) Totals() ([]Total, error) {
	if v.totals == nil {
		return nil, nil
	}
	var all []Total
	err := v.totals.ForEach(func(k, stored []byte) error {
		if len(k) != 6 || len(stored) != 8 {
			return errRow
		}
		all = append(all, Total{uint32(k[0]), k[1] == 1, binary.BigEndian.Uint32(k[2:]), binary.BigEndian.Uint64(stored)})
		return nil
	})
	return all, err
}
