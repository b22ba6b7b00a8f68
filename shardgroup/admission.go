package shardgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// The Raft log and the store hold one replica together: the log has what is
// acknowledged, the store what was applied and may be gone from the log. One
// without the other, or of another time than the other, must never be started:
// it would lose acknowledged writes without a word, hang or crash. So each keeps
// what the other can be held against:
//
//	store, namespace 0, bucket "replicas": group id → replica id (8 bytes each,
//	    big endian). The replicas of the node, recorded before their logs exist.
//	store, namespace 0, bucket "removed": group id → the last replica that was
//	    removed from the node. Ids grow: none up to it is ever started again,
//	    however old the map is that names it.
//	raft/synced-GROUP: the last entry (decimal) that the store was known to hold
//	    when it was synced last. The log may be compacted up to there.
const nodeNamespace = 0

var (
	replicasBucket = []byte("replicas")
	removedBucket  = []byte("removed")
)

// halves is what is known of a replica before it starts.
type halves struct {
	// Replica ids: as the directory says, as the store has recorded (0: none), the last
	// one that was removed, and the one whose removal has begun.
	replicaID, recorded, removed, removing uint64
	// Whether the Raft log knows the replica.
	logged bool
	// The last entry that the store holds, and that it was known to hold.
	applied, synced uint64
}

// errReplaced means that the directory holds a replica of the group that is not
// the one of the map: that one left the group, and is removed first.
var errReplaced = errors.New("the store holds another replica of the group")

// errRemoved means that the replica was removed from the directory: its log and
// its votes are forgotten.
var errRemoved = errors.New("the replica was removed from this node")

// fault says why the two halves do not belong together, or returns nil.
func (h halves) fault() error {
	switch {
	case h.replicaID <= h.removed || h.replicaID == h.removing:
		return errRemoved
	case h.recorded == 0 && h.logged:
		return errors.New("there is a Raft log, but the store does not know the group")
	case h.recorded == 0 && h.applied > 0:
		return fmt.Errorf("the store holds data up to entry %d of a group that it does not know", h.applied)
	case h.recorded != 0 && h.recorded != h.replicaID:
		return errReplaced
	case !h.logged && h.applied > 0:
		return fmt.Errorf("the store holds data up to entry %d, but the Raft log is gone", h.applied)
	case h.applied < h.synced:
		return fmt.Errorf("the store is older than the Raft log: it holds data up to entry %d, the log begins after entry %d", h.applied, h.synced)
	default:
		return nil
	}
}

// admit decides whether a replica may start, and records it. It returns the
// last entry that the store holds.
func (n *Node) admit(g *Group, groupDB *kv.DB) (uint64, error) {
	local, err := n.engine.DB(nodeNamespace)
	if err != nil {
		return 0, err
	}
	h := halves{replicaID: g.replicaID, logged: n.host.HasNodeInfo(g.id, g.replicaID)}
	if h.recorded, err = readID(local, replicasBucket, g.id); err != nil {
		return 0, err
	}
	if h.removed, err = readID(local, removedBucket, g.id); err != nil {
		return 0, err
	}
	if h.removing, err = readID(local, removingBucket, g.id); err != nil {
		return 0, err
	}
	if h.applied, err = statemachine.NewData(groupDB, n.cache).Open(nil); err != nil {
		return 0, err
	}
	if h.synced, err = readSynced(n.raftDir(), g.id); err != nil {
		return 0, err
	}
	switch fault := h.fault(); {
	case errors.Is(fault, errReplaced):
		return 0, fmt.Errorf("group %d: %w: it has replica %d, the map names replica %d", g.id, errReplaced, h.recorded, h.replicaID)
	case errors.Is(fault, errRemoved):
		return 0, fmt.Errorf("group %d: %w: replica %d cannot come back", g.id, errRemoved, h.replicaID)
	case fault != nil:
		return 0, n.mismatch(g, fault)
	}
	if h.recorded != 0 {
		return h.applied, nil
	}
	return h.applied, recordReplica(n.engine, local, g.id, g.replicaID)
}

// admitLog completes the decision once the log is open: the store must not be
// ahead of it.
func (n *Node) admitLog(g *Group, applied uint64) error {
	reader, err := n.host.GetLogReader(g.id)
	if err != nil {
		return err
	}
	if _, last := reader.GetRange(); applied > last {
		return n.mismatch(g, fmt.Errorf("the Raft log is older than the store: it ends at entry %d, the store holds data up to entry %d", last, applied))
	}
	return nil
}

func (n *Node) mismatch(g *Group, fault error) error {
	return fmt.Errorf("%w %s: group %d: %w: restore the whole directory from one backup, or start with an empty one",
		ErrDataDir, n.options.DataDir, g.id, fault)
}

// readID returns the replica id that a bucket has for a group, 0 for none.
func readID(local *kv.DB, name []byte, groupID uint64) (uint64, error) {
	var replicaID uint64
	err := local.View(func(tx *kv.Tx) error {
		if bucket := tx.Bucket(name); bucket != nil {
			if stored := bucket.Get(binary.BigEndian.AppendUint64(nil, groupID)); len(stored) == 8 {
				replicaID = binary.BigEndian.Uint64(stored)
			}
		}
		return nil
	})
	return replicaID, err
}

// recordReplica is durable when it returns.
func recordReplica(engine *kv.Engine, local *kv.DB, groupID, replicaID uint64) error {
	err := local.Update(func(tx *kv.Tx) error { return putID(tx, replicasBucket, groupID, replicaID) })
	if err != nil {
		return err
	}
	return engine.Sync()
}

func syncedFile(groupID uint64) string { return fmt.Sprintf("synced-%d", groupID) }

func readSynced(raftDir string, groupID uint64) (uint64, error) {
	content, err := os.ReadFile(filepath.Join(raftDir, syncedFile(groupID)))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	synced, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is damaged: restore the directory from a backup", ErrDataDir, filepath.Join(raftDir, syncedFile(groupID)))
	}
	return synced, nil
}

func writeSynced(raftDir string, groupID, applied uint64) error {
	return writeDurably(raftDir, syncedFile(groupID), []byte(strconv.FormatUint(applied, 10)+"\n"))
}
