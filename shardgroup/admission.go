package shardgroup

import (
	"encoding/binary"
	"fmt"

	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// The Raft log and the store hold one replica together: the log has what is
// acknowledged, the store what was applied and may be gone from the log. One
// without the other must never be started: it would lose acknowledged writes
// without a word. So the store records, durably and before the log exists,
// which replicas the node has.
//
// Layout: namespace 0 of the store, bucket "replicas", key group id, value
// replica id, 8 bytes each, big endian.
const nodeNamespace = 0

var replicasBucket = []byte("replicas")

// admit decides whether a replica may start, and records it.
func (n *Node) admit(g *Group, groupDB *kv.DB) error {
	local, err := n.engine.DB(nodeNamespace)
	if err != nil {
		return err
	}
	recorded, err := recordedReplica(local, g.id)
	if err != nil {
		return err
	}
	applied, err := statemachine.NewData(groupDB).Open(nil)
	if err != nil {
		return err
	}
	logged := n.host.HasNodeInfo(g.id, g.replicaID)
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w %s: group %d: %s: restore the whole directory from one backup, or start with an empty one",
			ErrDataDir, n.options.DataDir, g.id, fmt.Sprintf(format, args...))
	}
	switch {
	case recorded == 0 && logged:
		return refuse("there is a Raft log, but the store does not know the group")
	case recorded == 0 && applied > 0:
		return refuse("the store holds data up to entry %d that it does not know", applied)
	case recorded != 0 && recorded != g.replicaID:
		return refuse("the store holds replica %d, the directory names replica %d", recorded, g.replicaID)
	case !logged && applied > 0:
		return refuse("the store holds data up to entry %d, but the Raft log is gone", applied)
	case recorded != 0:
		return nil
	}
	if err := recordReplica(local, g.id, g.replicaID); err != nil {
		return err
	}
	return n.engine.Sync()
}

func recordedReplica(local *kv.DB, groupID uint64) (uint64, error) {
	var replicaID uint64
	err := local.View(func(tx *kv.Tx) error {
		if bucket := tx.Bucket(replicasBucket); bucket != nil {
			if stored := bucket.Get(binary.BigEndian.AppendUint64(nil, groupID)); len(stored) == 8 {
				replicaID = binary.BigEndian.Uint64(stored)
			}
		}
		return nil
	})
	return replicaID, err
}

func recordReplica(local *kv.DB, groupID, replicaID uint64) error {
	return local.Update(func(tx *kv.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(replicasBucket)
		if err != nil {
			return err
		}
		return bucket.Put(binary.BigEndian.AppendUint64(nil, groupID), binary.BigEndian.AppendUint64(nil, replicaID))
	})
}
