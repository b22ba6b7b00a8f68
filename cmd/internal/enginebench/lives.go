package enginebench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/scenario"
)

// firstAnswer has a machine answer each question of the first kind once, and returns how long the first took.
func (r *run) firstAnswer(m *machine) (time.Duration, error) {
	session, err := r.session(m, r.added)
	if err != nil {
		return 0, err
	}
	kind := scenario.Kinds(r.g)[0]
	var first time.Duration
	for n := range kind.Queries {
		one := kind
		one.Queries = kind.Queries[n : n+1]
		// Another name, or the answers of the question before were expected.
		one.Name = fmt.Sprintf("%s %d", kind.Name, n)
		asked, _, err := session.Ask(r.ctx, one, pace.Options{Callers: 1, Calls: 1})
		if err != nil {
			return 0, err
		}
		summary, err := asked.Summary()
		if err != nil {
			return 0, err
		}
		if summary.Answered != 1 || summary.Wrong > 0 {
			return 0, fmt.Errorf("%s: %v %v", one.Name, summary.WrongExamples, summary.ErrorExamples)
		}
		if n == 0 {
			first = time.Duration(summary.Latency.At(1)) * time.Microsecond
		}
	}
	return first, nil
}

// restart closes the store and opens it again.
func (r *run) restart() (map[string]uint64, error) {
	began := time.Now()
	old := r.machine
	r.machine = nil
	if err := old.close(); err != nil {
		return nil, err
	}
	closed := time.Now()
	var err error
	if r.machine, err = open(r.Engine, old.dir); err != nil {
		return nil, err
	}
	opened := time.Since(closed)
	if r.machine.applied != old.applied {
		return nil, fmt.Errorf("the last entry is %d, was %d", r.machine.applied, old.applied)
	}
	first, err := r.firstAnswer(r.machine)
	return map[string]uint64{
		"stop_ms": uint64(closed.Sub(began).Milliseconds()), "start_us": uint64(opened.Microseconds()), "first_answer_us": uint64(first.Microseconds()),
	}, err
}

// snapshotPath is where the snapshot goes: it is not part of what the engine takes.
func (r *run) snapshotPath() string { return filepath.Join(r.dir, "snapshot") }

// save writes a snapshot as the state machine does for Raft.
func (r *run) save() (map[string]uint64, error) {
	began := time.Now()
	prepared, err := r.machine.machine.PrepareSnapshot()
	if err != nil {
		return nil, err
	}
	file, err := os.Create(r.snapshotPath())
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	err = errors.Join(r.machine.machine.SaveSnapshot(prepared, buffered, nil), buffered.Flush(), file.Sync(), file.Close())
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	info, err := os.Stat(r.snapshotPath())
	if err != nil {
		return nil, err
	}
	return map[string]uint64{"snapshot_bytes": uint64(info.Size()), "working_ms": uint64(took.Milliseconds())}, nil
}

// restore reads the snapshot into an empty store, and looks whether everything is there.
func (r *run) restore() (details map[string]uint64, err error) {
	began := time.Now()
	empty, err := open(r.Engine, filepath.Join(r.dir, "restored"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, empty.close()) }()
	file, err := os.Open(r.snapshotPath())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := empty.machine.RecoverFromSnapshot(bufio.NewReaderSize(file, 1<<20), nil); err != nil {
		return nil, err
	}
	took := time.Since(began)
	first, err := r.firstAnswer(empty)
	return map[string]uint64{"working_ms": uint64(took.Milliseconds()), "first_answer_us": uint64(first.Microseconds())}, err
}
