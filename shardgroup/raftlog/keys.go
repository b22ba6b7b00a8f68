package raftlog

import (
	"encoding/binary"

	"github.com/lni/dragonboat/v4/raftio"
)

// Kinds of rows.
const (
	kindBootstrap = 'b'
	kindEntry     = 'e'
	kindSnapshot  = 'p'
	kindState     = 's'
)

// id names a replica of a group.
type id = raftio.NodeInfo

func appendKey(key []byte, kind byte, of id) []byte {
	key = append(key, kind)
	key = binary.BigEndian.AppendUint64(key, of.ShardID)
	return binary.BigEndian.AppendUint64(key, of.ReplicaID)
}

func rowKey(kind byte, of id) []byte { return appendKey(make([]byte, 0, 17), kind, of) }

func appendEntryKey(key []byte, of id, index uint64) []byte {
	return binary.BigEndian.AppendUint64(appendKey(key, kindEntry, of), index)
}

func entryKey(of id, index uint64) []byte { return appendEntryKey(make([]byte, 0, 25), of, index) }

// entriesEnd is behind all entries of a replica: the last byte of an entry's key is
// its index's, so one more byte is behind the largest.
func entriesEnd(of id) []byte { return append(entryKey(of, ^uint64(0)), 0) }

// decodeRow returns the replica that a row of one is of; false if it is no such key.
func decodeRow(key []byte) (id, bool) {
	if len(key) != 17 {
		return id{}, false
	}
	return id{ShardID: binary.BigEndian.Uint64(key[1:]), ReplicaID: binary.BigEndian.Uint64(key[9:])}, true
}
