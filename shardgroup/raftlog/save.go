package raftlog

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lni/dragonboat/v4/raftpb"
)

// maxBatchBytes is when a batch is written before the next replica's updates: a node
// that catches up gets 64 MiB for each group at once, and the store panics over 4 GiB.
const maxBatchBytes = 32 << 20

// SaveRaftState implements raftio.ILogDB: it makes entries, votes, terms and
// snapshot records durable at once. What only moves commit indexes on is
// remembered, and stored with the next of these, but for changes of membership. Each
// replica's update is written wholly or not at all.
func (l *Log) SaveRaftState(updates []raftpb.Update, _ uint64) error {
	batch := l.db.NewBatch()
	defer func() { _ = batch.Close() }() // it only fails for batches that were closed
	size := 0
	locked := make([]*replica, 0, len(updates))
	saved := false
	defer func() {
		for _, r := range locked {
			// After a failure nobody knows what the store holds.
			r.loaded = saved
			r.mu.Unlock()
		}
	}()
	for i := range updates {
		r, err := l.lock(id{ShardID: updates[i].ShardID, ReplicaID: updates[i].ReplicaID})
		if err != nil {
			return err
		}
		locked = append(locked, r)
		if size += bytesOf(updates[i].EntriesToSave); size > l.maxBatch && !batch.Empty() {
			if err := l.commit(batch); err != nil {
				return err
			}
			_ = batch.Close()
			batch, size = l.db.NewBatch(), bytesOf(updates[i].EntriesToSave)
		}
		if err := r.add(batch, &updates[i]); err != nil {
			return err
		}
	}
	err := l.commit(batch)
	saved = err == nil
	return err
}

// SaveSnapshots implements raftio.ILogDB.
func (l *Log) SaveSnapshots(updates []raftpb.Update) error {
	for i := range updates {
		if err := l.saveSnapshot(&updates[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) saveSnapshot(u *raftpb.Update) error {
	r, err := l.lock(id{ShardID: u.ShardID, ReplicaID: u.ReplicaID})
	if err != nil {
		return err
	}
	defer r.mu.Unlock()
	batch := l.db.NewBatch()
	defer func() { _ = batch.Close() }()
	newer, err := r.addSnapshot(batch, &u.Snapshot)
	if err == nil && newer {
		err = l.commit(batch)
	}
	r.loaded = err == nil
	return err
}

// commit makes a batch durable.
func (l *Log) commit(batch *pebble.Batch) error {
	if batch.Empty() {
		l.metrics.avoided.Inc()
		return nil
	}
	start := time.Now()
	if err := batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write the Raft log: %w", err)
	}
	l.metrics.synced(time.Since(start), batch.Len())
	return nil
}

// add puts into a batch what of an update must be durable.
func (r *replica) add(batch *pebble.Batch, u *raftpb.Update) error {
	if !raftpb.IsEmptyState(u.State) {
		r.state = u.State
	}
	durable := len(u.EntriesToSave) > 0 || r.mustStore()
	newer, err := r.addSnapshot(batch, &u.Snapshot)
	if err != nil {
		return err
	}
	if newer {
		// It takes the place of all entries: those of this update follow it.
		if err := batch.DeleteRange(entryKey(r.id, 0), entriesEnd(r.id), nil); err != nil {
			return err
		}
		r.last, r.change = 0, 0
	}
	if !durable && !newer {
		return nil
	}
	if err := r.addEntries(batch, u.EntriesToSave); err != nil {
		return err
	}
	return r.addState(batch)
}

func bytesOf(entries []raftpb.Entry) (sum int) {
	for i := range entries {
		sum += entries[i].SizeUpperLimit()
	}
	return sum
}

// mustStore reports whether the state is more than a commit index that a quorum would
// find out again. A change of membership says who the quorum is: once it is committed,
// those that left may forget the group, and no vote of theirs can be had any more.
func (r *replica) mustStore() bool {
	return r.state.Term != r.saved.Term || r.state.Vote != r.saved.Vote ||
		r.state.Commit != r.saved.Commit && r.saved.Commit < r.change
}

func (r *replica) addSnapshot(batch *pebble.Batch, snapshot *raftpb.Snapshot) (newer bool, err error) {
	if raftpb.IsEmptySnapshot(*snapshot) || snapshot.Index <= r.snapshot {
		return false, nil
	}
	r.snapshot = snapshot.Index
	return true, put(batch, kindSnapshot, r.id, snapshot)
}

// addEntries replaces all entries from the first one on.
func (r *replica) addEntries(batch *pebble.Batch, entries []raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	last := entries[len(entries)-1].Index
	if r.last > last {
		if err := batch.DeleteRange(entryKey(r.id, last+1), entriesEnd(r.id), nil); err != nil {
			return err
		}
	}
	r.change = min(r.change, entries[0].Index-1)
	for i := range entries {
		if entries[i].Type == raftpb.ConfigChangeEntry {
			r.change = entries[i].Index
		}
		size := entries[i].Size()
		row := batch.SetDeferred(25, size)
		appendEntryKey(row.Key[:0], r.id, entries[i].Index)
		if _, err := entries[i].MarshalTo(row.Value); err != nil {
			return err
		}
		if err := row.Finish(); err != nil {
			return err
		}
	}
	r.last = last
	return nil
}

func (r *replica) addState(batch *pebble.Batch) error {
	if r.state == r.saved {
		return nil
	}
	r.saved = r.state
	return putState(batch, r.id, r.state)
}

func putState(batch *pebble.Batch, of id, state raftpb.State) error {
	return put(batch, kindState, of, &state)
}

type marshaller interface{ Marshal() ([]byte, error) }

func put(batch *pebble.Batch, kind byte, of id, row marshaller) error {
	encoded, err := row.Marshal()
	if err != nil {
		return err
	}
	return batch.Set(rowKey(kind, of), encoded, nil)
}
