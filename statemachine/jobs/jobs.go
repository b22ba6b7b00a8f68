// Package jobs is the table of compaction jobs: what each consists of, and who
// has it for how long.
//
//	"jobs"       name → raftlog.v1.JobState
//	"job-order"  level (1) | in progress (1) | failures (4) | time (8) | name
//	"job-totals" totals → for each kind of jobs: level (1) | in progress (1) | failures (4) | number of jobs (8)
//
// The time is that of the lease's end, of jobs that nobody has that of their creation:
// then rows are added behind and removed in front, where a cursor of the head does not
// step over those that were removed. By name they would lie among them.
//
// There are at most some ten thousand, so those of a range are found by going
// through all.
package jobs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	jobsName   = []byte("jobs")
	orderName  = []byte("job-order")
	totalsName = []byte("job-totals")

	errRow = errors.New("jobs: malformed row")
)

func orderKey(state *raftlogv1.JobState) []byte {
	at := state.GetCreatedAt()
	if state.GetInProgress() {
		at = state.GetLeaseExpiresAt()
	}
	b := orderPrefix(state.GetJob().GetLevel(), state.GetInProgress(), state.GetFailures())
	b = binary.BigEndian.AppendUint64(b, uint64(at)^(1<<63))
	return append(b, state.GetJob().GetName()...)
}

const orderFixed = 1 + 1 + 4 + 8

func orderPrefix(level uint32, inProgress bool, failures uint32) []byte {
	b := []byte{byte(level), 0}
	if inProgress {
		b[1] = 1
	}
	return binary.BigEndian.AppendUint32(b, failures)
}

// Writer changes the jobs in one transaction.
type Writer struct {
	jobs, order, totals *kv.Bucket
	// Nil as long as none changed.
	sums map[kind]uint64
}

// NewWriter returns a writer for a writable transaction. Call Flush before it commits.
func NewWriter(tx *kv.Tx) (*Writer, error) {
	jobs, err := tx.CreateBucketIfNotExists(jobsName)
	if err != nil {
		return nil, err
	}
	order, err := tx.CreateBucketIfNotExists(orderName)
	if err != nil {
		return nil, err
	}
	totals, err := tx.CreateBucketIfNotExists(totalsName)
	return &Writer{jobs: jobs, order: order, totals: totals}, err
}

// Get returns a job, nil if there is none of the name.
func (w *Writer) Get(name string) (*raftlogv1.JobState, error) { return get(w.jobs, name) }

func get(jobs *kv.Bucket, name string) (*raftlogv1.JobState, error) {
	if name == "" || len(name) > kv.MaxKeySize {
		return nil, nil
	}
	stored := jobs.Get([]byte(name))
	if stored == nil {
		return nil, nil
	}
	state := &raftlogv1.JobState{}
	if err := state.UnmarshalVT(stored); err != nil {
		return nil, fmt.Errorf("%w %q: %w", errRow, name, err)
	}
	return state, nil
}

// Put stores a job in the place of the one it was, nil for a new one.
func (w *Writer) Put(was, is *raftlogv1.JobState) error {
	if was != nil {
		if err := w.leave(was); err != nil {
			return err
		}
	}
	encoded, err := is.MarshalVT()
	if err != nil {
		return err
	}
	if err := w.jobs.Put([]byte(is.GetJob().GetName()), encoded); err != nil {
		return err
	}
	if err := w.count(is, 1); err != nil {
		return err
	}
	return w.order.Put(orderKey(is), nil)
}

// leave takes a job out of the order and the totals.
func (w *Writer) leave(was *raftlogv1.JobState) error {
	if err := w.count(was, -1); err != nil {
		return err
	}
	return w.order.Delete(orderKey(was))
}

// Delete removes a job.
func (w *Writer) Delete(state *raftlogv1.JobState) error {
	if err := w.leave(state); err != nil {
		return err
	}
	return w.jobs.Delete([]byte(state.GetJob().GetName()))
}

// All calls fn for every job, by name. fn must not change the table.
func (w *Writer) All(fn func(*raftlogv1.JobState) error) error { return all(w.jobs, fn) }

func all(jobs *kv.Bucket, fn func(*raftlogv1.JobState) error) error {
	return jobs.ForEach(func(name, stored []byte) error {
		state := &raftlogv1.JobState{}
		if err := state.UnmarshalVT(stored); err != nil {
			return fmt.Errorf("%w %q: %w", errRow, name, err)
		}
		return fn(state)
	})
}

// View reads the jobs in one transaction.
type View struct{ jobs, order, totals *kv.Bucket }

// NewView returns a view; the transaction must outlive it.
func NewView(tx *kv.Tx) View {
	return View{tx.Bucket(jobsName), tx.Bucket(orderName), tx.Bucket(totalsName)}
}

// Get returns a job, nil if there is none of the name.
func (v View) Get(name string) (*raftlogv1.JobState, error) {
	if v.jobs == nil {
		return nil, nil
	}
	return get(v.jobs, name)
}

// List lists the jobs of a level that are in progress or not, with at least so
// many failures, by failures, then lease end or time of creation, then name.
func (v View) List(level uint32, inProgress bool, failuresMin uint32) iter.Seq2[*raftlogv1.JobState, error] {
	return func(yield func(*raftlogv1.JobState, error) bool) {
		if v.order == nil {
			return
		}
		first := orderPrefix(level, inProgress, failuresMin)
		cursor := v.order.HeadCursor(first[:2])
		defer cursor.Release()
		k, _ := cursor.First()
		if failuresMin > 0 && k != nil {
			k, _ = cursor.Seek(first)
		}
		for ; k != nil; k, _ = cursor.Next() {
			if len(k) <= orderFixed {
				yield(nil, errRow)
				return
			}
			name := string(k[orderFixed:])
			state, err := v.Get(name)
			if err == nil && state == nil {
				err = fmt.Errorf("%w: %q is in the order only", errRow, name)
			}
			if !yield(state, err) || err != nil {
				return
			}
		}
	}
}

// All calls fn for every job, by name.
func (v View) All(fn func(*raftlogv1.JobState) error) error {
	if v.jobs == nil {
		return nil
	}
	return all(v.jobs, fn)
}
