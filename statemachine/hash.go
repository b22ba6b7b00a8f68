package statemachine

import (
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
	digest := sha256.New()
	err := tx.ForEach(func(name []byte, bucket *kv.Bucket) error {
		return hashBucket(digest, name, bucket)
	})
	return Hash(digest.Sum(nil)), err
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
