package statemachine

import (
	"encoding/binary"
	"errors"

	"github.com/skerrydb/skerry/storage/kv"
)

var headerBucket = []byte("meta")

var (
	clusterKey = []byte("cluster")
	stateKey   = []byte("state")
)

// header is what a group knows of itself. It is written once in each Update,
// in the transaction of the changes.
type header struct {
	// Index of the last entry applied.
	applied uint64
	// Maximum of the proposers' clocks seen, Unix nanoseconds.
	logTime int64
	// Bumped by each new leader's claim.
	leaderEpoch uint64
	// Raft term of that claim.
	leaderTerm uint64
	// Set by InitGroup (or, in the directory, Bootstrap); 0 before.
	groupID uint64
	// Blocks indexed, and bytes of their objects.
	blocks, objectBytes uint64
	// The highest fencing token handed out. It never goes back.
	lastToken uint64
	// Compaction jobs that exist.
	jobs uint64
	// No compaction job is created or assigned.
	paused bool
	// Node whose claim made leaderEpoch.
	leader string
}

const (
	headerFormat = 2
	headerFixed  = 1 + 10*8
)

var errHeader = errors.New("statemachine: malformed header, or one of a newer release")

func loadHeader(tx *kv.Tx) (header, error) {
	bucket := tx.Bucket(headerBucket)
	if bucket == nil {
		return header{}, nil
	}
	return decodeHeader(bucket.Get(stateKey))
}

// clusterOf returns the id of the cluster that the group is of, "" before it was told.
func clusterOf(tx *kv.Tx) string {
	if bucket := tx.Bucket(headerBucket); bucket != nil {
		return string(bucket.Get(clusterKey))
	}
	return ""
}

func decodeHeader(b []byte) (header, error) {
	if len(b) < headerFixed || b[0] != headerFormat {
		return header{}, errHeader
	}
	word := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return header{
		applied: word(0), logTime: int64(word(1)), leaderEpoch: word(2), groupID: word(3),
		blocks: word(4), objectBytes: word(5), leaderTerm: word(6),
		lastToken: word(7), jobs: word(8), paused: word(9) != 0, leader: string(b[headerFixed:]),
	}, nil
}

func (h *header) store(tx *kv.Tx) error {
	bucket, err := tx.CreateBucketIfNotExists(headerBucket)
	if err != nil {
		return err
	}
	b := append(make([]byte, 0, headerFixed+len(h.leader)), headerFormat)
	paused := uint64(0)
	if h.paused {
		paused = 1
	}
	for _, word := range []uint64{
		h.applied, uint64(h.logTime), h.leaderEpoch, h.groupID, h.blocks, h.objectBytes, h.leaderTerm, h.lastToken, h.jobs, paused,
	} {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return bucket.Put(stateKey, append(b, h.leader...))
}

// identify makes the group a member of a cluster, once.
func (h *header) identify(tx *kv.Tx, clusterID string, groupID uint64) error {
	h.groupID = groupID
	bucket, err := tx.CreateBucketIfNotExists(headerBucket)
	if err != nil {
		return err
	}
	return bucket.Put(clusterKey, []byte(clusterID))
}
