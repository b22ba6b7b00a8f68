package raftlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/lni/dragonboat/v4/raftpb"
)

// SaveBootstrapInfo implements raftio.ILogDB.
func (l *Log) SaveBootstrapInfo(groupID, replicaID uint64, bootstrap raftpb.Bootstrap) error {
	encoded, err := bootstrap.Marshal()
	if err != nil {
		return err
	}
	return l.db.Set(rowKey(kindBootstrap, id{ShardID: groupID, ReplicaID: replicaID}), encoded, pebble.Sync)
}

// RemoveEntriesTo implements raftio.ILogDB: it removes the entries before an index.
// They may be back after a crash, and are removed again then.
func (l *Log) RemoveEntriesTo(groupID, replicaID, index uint64) error {
	of := id{ShardID: groupID, ReplicaID: replicaID}
	return l.db.DeleteRange(entryKey(of, 0), entryKey(of, index), pebble.NoSync)
}

// CompactEntriesTo implements raftio.ILogDB. The store gives removed entries' space
// back by itself: it drops whole tables, without reading them.
func (l *Log) CompactEntriesTo(uint64, uint64, uint64) (<-chan struct{}, error) {
	done := make(chan struct{})
	close(done)
	return done, nil
}

// RemoveNodeData implements raftio.ILogDB: nothing of the replica is left when it
// returns.
func (l *Log) RemoveNodeData(groupID, replicaID uint64) error {
	return l.replace(id{ShardID: groupID, ReplicaID: replicaID}, func(*pebble.Batch) error { return nil })
}

// ImportSnapshot implements raftio.ILogDB: the snapshot takes the place of all that
// there was of the replica.
func (l *Log) ImportSnapshot(snapshot raftpb.Snapshot, replicaID uint64) error {
	of := id{ShardID: snapshot.ShardID, ReplicaID: replicaID}
	return l.replace(of, func(batch *pebble.Batch) error {
		return errors.Join(
			put(batch, kindBootstrap, of, &raftpb.Bootstrap{Join: true, Type: snapshot.Type}),
			put(batch, kindSnapshot, of, &snapshot),
			putState(batch, of, raftpb.State{Term: snapshot.Term, Commit: snapshot.Index}))
	})
}

// replace removes all rows of a replica, and puts others, durably.
func (l *Log) replace(of id, others func(*pebble.Batch) error) error {
	r, err := l.lock(of)
	if err != nil {
		return err
	}
	defer r.mu.Unlock()
	batch := l.db.NewBatch()
	defer func() { _ = batch.Close() }()
	for _, kind := range []byte{kindBootstrap, kindState, kindSnapshot} {
		if err := batch.Delete(rowKey(kind, of), nil); err != nil {
			return err
		}
	}
	if err := batch.DeleteRange(entryKey(of, 0), entriesEnd(of), nil); err != nil {
		return err
	}
	if err := others(batch); err != nil {
		return err
	}
	// What is known of it is read again.
	r.loaded = false
	if err := batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write the Raft log of group %d: %w", of.ShardID, err)
	}
	return nil
}
