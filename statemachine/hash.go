package statemachine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/skerrydb/skerry/storage/kv"
)

// Hash is a digest of a replica's whole logical content: buckets, keys, values
// and sequences, in order. Replicas that applied the same entries have equal
// hashes, whatever the way they got there.
type Hash [sha256.Size]byte

func hashState(tx *kv.Tx) (Hash, error) {
	return hashBuckets(tx, func([]byte) bool { return true })
}

func hashBuckets(tx *kv.Tx, of func(name []byte) bool) (Hash, error) {
	digest := sha256.New()
	err := tx.ForEach(func(name []byte, bucket *kv.Bucket) error {
		if !of(name) {
			return nil
		}
		return hashBucket(digest, name, bucket)
	})
	return Hash(digest.Sum(nil)), err
}

// Digest is what two replicas of a group are compared by.
type Digest struct {
	// Of the last entry.
	Applied uint64
	// Of everything. Equal wherever Applied is.
	State Hash
	// Of everything but the header, which each entry changes: that tells of the log,
	// of time and of leaders.
	Data Hash
}

// DigestOf reads all of a group's state.
func DigestOf(tx *kv.Tx) (Digest, error) {
	var d Digest
	h, err := loadHeader(tx)
	if err != nil {
		return d, err
	}
	d.Applied = h.applied
	if d.State, err = hashState(tx); err != nil {
		return d, err
	}
	d.Data, err = hashBuckets(tx, func(name []byte) bool { return !bytes.Equal(name, headerBucket) })
	return d, err
}

func hashBucket(digest hash.Hash, name []byte, bucket *kv.Bucket) error {
	hashField(digest, '{', name)
	hashField(digest, '#', binary.BigEndian.AppendUint64(nil, bucket.Sequence()))
	err := bucket.ForEach(func(k, v []byte) error {
		if v == nil {
			return hashBucket(digest, k, bucket.Bucket(k))
		}
		hashField(digest, 'k', k)
		hashField(digest, 'v', v)
		return nil
	})
	digest.Write([]byte{'}'})
	return err
}

// hashField frames a field, so that no two contents hash the same bytes.
func hashField(digest hash.Hash, tag byte, field []byte) {
	var frame [9]byte
	frame[0] = tag
	binary.BigEndian.PutUint64(frame[1:], uint64(len(field)))
	digest.Write(frame[:])
	digest.Write(field)
}
