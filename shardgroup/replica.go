package shardgroup

import (
	"io"
	"sync/atomic"
	"time"

	dbsm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/skerrydb/skerry/statemachine"
)

// replica is the state machine as dragonboat drives it: measured, and keeping
// the record that the Raft log is held against (see admission.go).
type replica struct {
	*statemachine.Machine
	groupID uint64
	raftDir string
	metrics *metrics
	// Told how much of the log was applied.
	applied func(entries, bytes int)
	synced  atomic.Uint64
}

var _ dbsm.IOnDiskStateMachine = (*replica)(nil)

func (r *replica) Update(entries []dbsm.Entry) ([]dbsm.Entry, error) {
	bytes := 0
	for i := range entries {
		bytes += len(entries[i].Cmd)
	}
	start := time.Now()
	r.metrics.fsmEntries.Observe(float64(len(entries)))
	results, err := r.Machine.Update(entries)
	r.metrics.fsmApply.Observe(time.Since(start).Seconds())
	r.applied(len(entries), bytes)
	return results, err
}

// Sync makes the store durable, then notes up to where: dragonboat may remove
// the log up to there once Sync returned.
func (r *replica) Sync() error {
	applied, err := r.Machine.Open(nil)
	if err != nil {
		return err
	}
	if err := r.Machine.Sync(); err != nil {
		return err
	}
	if r.synced.Load() >= applied {
		return nil
	}
	if err := writeSynced(r.raftDir, r.groupID, applied); err != nil {
		return err
	}
	r.synced.Store(applied)
	return nil
}

// RecoverFromSnapshot replaces the state; what watches it is told.
func (r *replica) RecoverFromSnapshot(reader io.Reader, stop <-chan struct{}) error {
	err := r.Machine.RecoverFromSnapshot(reader, stop)
	r.applied(0, 0)
	return err
}
