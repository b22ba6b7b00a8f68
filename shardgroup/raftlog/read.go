package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// ReadRaftState implements raftio.ILogDB. The commit index may be lower than it once
// was, but not lower than the snapshot's: Raft demands that.
func (l *Log) ReadRaftState(groupID, replicaID, snapshotIndex uint64) (raftio.RaftState, error) {
	r, err := l.lock(id{ShardID: groupID, ReplicaID: replicaID})
	if err != nil {
		return raftio.RaftState{}, err
	}
	defer r.mu.Unlock()
	if raftpb.IsEmptyState(r.state) {
		return raftio.RaftState{}, raftio.ErrNoSavedLog
	}
	state := raftio.RaftState{State: r.state, FirstIndex: snapshotIndex}
	state.State.Commit = max(state.State.Commit, snapshotIndex)
	if r.last <= snapshotIndex {
		return state, nil
	}
	iterator, err := l.entries(r.id, snapshotIndex, 0)
	if err != nil {
		return raftio.RaftState{}, err
	}
	if iterator.First() {
		state.FirstIndex = indexOf(iterator.Key())
		state.EntryCount = r.last - state.FirstIndex + 1
	}
	if err := iterator.Close(); err != nil {
		return raftio.RaftState{}, err
	}
	if state.EntryCount == 0 || state.FirstIndex > snapshotIndex+1 {
		return raftio.RaftState{}, fmt.Errorf("the Raft log of group %d: entries begin at %d, the snapshot ends at %d: restore the directory from a backup", groupID, state.FirstIndex, snapshotIndex)
	}
	return state, nil
}

// IterateEntries implements raftio.ILogDB: it appends entries from low on, up to
// high, or until their size is over a limit.
func (l *Log) IterateEntries(entries []raftpb.Entry, size, groupID, replicaID, low, high, maxSize uint64) ([]raftpb.Entry, uint64, error) {
	iterator, err := l.entries(id{ShardID: groupID, ReplicaID: replicaID}, low, high)
	if err != nil {
		return nil, 0, err
	}
	next := low
	for ok := iterator.First(); ok && indexOf(iterator.Key()) == next; ok = iterator.Next() {
		var entry raftpb.Entry
		if err := entry.Unmarshal(iterator.Value()); err != nil {
			return nil, 0, errors.Join(fmt.Errorf("the Raft log of group %d: entry %d: %w", groupID, next, err), iterator.Close())
		}
		entries = append(entries, entry)
		next++
		if size += uint64(entry.SizeUpperLimit()); size > maxSize {
			break
		}
	}
	if err := iterator.Close(); err != nil {
		return nil, 0, fmt.Errorf("read the Raft log of group %d: %w", groupID, err)
	}
	return entries, size, nil
}

// entries returns an iterator over entries from low to high, which does not belong
// to them; 0 is for no end.
func (l *Log) entries(of id, low, high uint64) (*pebble.Iterator, error) {
	end := entriesEnd(of)
	if high > 0 {
		end = entryKey(of, high)
	}
	return l.db.NewIter(&pebble.IterOptions{LowerBound: entryKey(of, low), UpperBound: end})
}

func indexOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// GetSnapshot implements raftio.ILogDB: the last snapshot's record, empty if there
// is none.
func (l *Log) GetSnapshot(groupID, replicaID uint64) (raftpb.Snapshot, error) {
	var snapshot raftpb.Snapshot
	_, err := l.get(kindSnapshot, id{ShardID: groupID, ReplicaID: replicaID}, &snapshot)
	return snapshot, err
}

// GetBootstrapInfo implements raftio.ILogDB.
func (l *Log) GetBootstrapInfo(groupID, replicaID uint64) (raftpb.Bootstrap, error) {
	var bootstrap raftpb.Bootstrap
	exists, err := l.get(kindBootstrap, id{ShardID: groupID, ReplicaID: replicaID}, &bootstrap)
	if err == nil && !exists {
		err = raftio.ErrNoBootstrapInfo
	}
	return bootstrap, err
}

// ListNodeInfo implements raftio.ILogDB.
func (l *Log) ListNodeInfo() ([]raftio.NodeInfo, error) {
	iterator, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindBootstrap}, UpperBound: []byte{kindBootstrap + 1}})
	if err != nil {
		return nil, err
	}
	var all []raftio.NodeInfo
	for ok := iterator.First(); ok; ok = iterator.Next() {
		of, known := decodeRow(iterator.Key())
		if !known {
			return nil, errors.Join(fmt.Errorf("the Raft log has a bad key %x: restore the directory from a backup", iterator.Key()), iterator.Close())
		}
		all = append(all, of)
	}
	return all, iterator.Close()
}

type unmarshaller interface{ Unmarshal([]byte) error }

func (l *Log) get(kind byte, of id, row unmarshaller) (exists bool, err error) {
	stored, closer, err := l.db.Get(rowKey(kind, of))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the Raft log of group %d: %w", of.ShardID, err)
	}
	return true, errors.Join(row.Unmarshal(stored), closer.Close())
}
