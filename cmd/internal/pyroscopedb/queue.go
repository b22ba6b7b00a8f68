package pyroscopedb

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"
)

// Queued is a block that waits for compaction.
type Queued struct {
	ID     ulid.ULID
	Tenant string
	Shard  uint32
	Level  uint32
	// Whether the block is in the index: a metastore leaves some entries behind.
	Indexed bool
}

// Queue yields the compaction queue, oldest first. A *DamageError comes with a zero
// entry, and others follow it.
func (d *DB) Queue() iter.Seq2[Queued, error] {
	return func(yield func(Queued, error) bool) {
		yield = shielded(yield)
		err := d.view(func(tx *bbolt.Tx) error {
			index := newLookup(tx)
			eachRow(tx, queueName, func(damaged func(error) bool, key, value []byte) bool {
				entry, err := decodeQueued(key, value)
				if err != nil {
					return damaged(err)
				}
				entry.Indexed = index.has(entry)
				return yield(entry, nil)
			}, yield)
			return nil
		})
		if err != nil {
			yield(Queued{}, err)
		}
	}
}

func decodeQueued(key, value []byte) (Queued, error) {
	if len(key) <= 8 || len(value) < 16 {
		return Queued{}, fmt.Errorf("%w: key of %d bytes, value of %d", errRow, len(key), len(value))
	}
	id, err := ulid.ParseStrict(string(key[8:]))
	if len(key) == 8+16 {
		err = id.UnmarshalBinary(key[8:])
	}
	if err != nil {
		return Queued{}, fmt.Errorf("%w: its key is no block's: %w", errRow, err)
	}
	return Queued{
		ID: id, Level: binary.BigEndian.Uint32(value[8:]), Shard: binary.BigEndian.Uint32(value[12:]), Tenant: string(value[16:]),
	}, nil
}

// lookup finds blocks by id: metastores may have partitions of several lengths.
type lookup struct {
	partitions *bbolt.Bucket
	names      [][]byte // in order of their starts
}

func newLookup(tx *bbolt.Tx) lookup {
	l := lookup{partitions: tx.Bucket(partitionName)}
	cursor := l.partitions.Cursor()
	for name, value := cursor.First(); name != nil; name, value = cursor.Next() {
		if _, _, err := decodePartition(name); err == nil && value == nil {
			l.names = append(l.names, name)
		}
	}
	return l
}

func (l lookup) has(entry Queued) bool {
	at := entry.ID.Timestamp()
	from, _ := slices.BinarySearchFunc(l.names, at, func(name []byte, at time.Time) int {
		start, _, _ := decodePartition(name)
		return start.Compare(at.Add(1))
	})
	directory := entry.Tenant
	if directory == "" {
		directory = anonymous
	}
	// Backwards from the last one that does not begin later; longer ones may begin before.
	for i := from - 1; i >= 0 && i >= from-maxOverlap; i-- {
		start, duration, _ := decodePartition(l.names[i])
		if !at.Before(start.Add(duration)) {
			continue
		}
		bucket := l.partitions.Bucket(l.names[i]).Bucket([]byte(directory))
		if bucket == nil {
			continue
		}
		if bucket = bucket.Bucket(binary.BigEndian.AppendUint32(nil, entry.Shard)); bucket != nil && bucket.Get([]byte(entry.ID.String())) != nil {
			return true
		}
	}
	return false
}

// maxOverlap bounds the partitions that are looked into for one block.
const maxOverlap = 8
