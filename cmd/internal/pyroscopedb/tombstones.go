package pyroscopedb

import (
	"errors"
	"fmt"
	"iter"
	"unicode/utf8"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/encoding/protowire"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// planTombstones is the field of a CompactionJobPlan that holds Tombstones. A
// metastore forgets tombstones once it has put them on a job, so they are there only.
const planTombstones protowire.Number = 6

// Tombstones yields what the metastore left to be deleted: tombstones that wait, and
// those on jobs. Each is either of blocks or of a shard; a row that holds both comes
// as two. A *DamageError comes without one, and others follow it.
func (d *DB) Tombstones() iter.Seq2[*metastorev1.Tombstones, error] {
	return func(yield func(*metastorev1.Tombstones, error) bool) {
		yield = shielded(yield)
		err := d.view(func(tx *bbolt.Tx) error {
			if eachRow(tx, tombstonesName, func(damaged func(error) bool, _, value []byte) bool {
				return yieldTombstone(yield, damaged, value)
			}, yield) {
				eachRow(tx, plansName, func(damaged func(error) bool, _, value []byte) bool {
					encoded, err := planTombstonesOf(value)
					if err != nil {
						return damaged(err)
					}
					for _, one := range encoded {
						if !yieldTombstone(yield, damaged, one) {
							return false
						}
					}
					return true
				}, yield)
			}
			return nil
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// eachRow calls fn for the rows of a root bucket, which may be missing, until it
// returns false.
func eachRow[T any](tx *bbolt.Tx, name []byte, fn func(damaged func(error) bool, key, value []byte) bool, yield func(T, error) bool) bool {
	bucket := tx.Bucket(name)
	if bucket == nil {
		return true
	}
	cursor := bucket.Cursor()
	for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
		damaged := func(err error) bool {
			var none T
			return yield(none, &DamageError{path(name, key), err})
		}
		more := false
		if value == nil {
			more = damaged(errors.New("a bucket where a row is expected"))
		} else {
			more = fn(damaged, key, value)
		}
		if !more {
			return false
		}
	}
	return true
}

// yieldTombstone yields the halves of an encoded message.
func yieldTombstone(yield func(*metastorev1.Tombstones, error) bool, damaged func(error) bool, encoded []byte) bool {
	tombstone := &metastorev1.Tombstones{}
	if err := tombstone.UnmarshalVT(encoded); err != nil {
		return damaged(fmt.Errorf("%w: not a tombstone: %w", errRow, err))
	}
	blocks, shard := tombstone.GetBlocks(), tombstone.GetShard()
	if blocks == nil && shard == nil {
		return damaged(fmt.Errorf("%w: a tombstone of nothing", errRow))
	}
	if blocks != nil {
		if err := checkBlocks(blocks); err != nil {
			return damaged(err)
		}
		if !yield(&metastorev1.Tombstones{Blocks: blocks}, nil) {
			return false
		}
	}
	if shard != nil {
		if err := checkShard(shard); err != nil {
			return damaged(err)
		}
		return yield(&metastorev1.Tombstones{Shard: shard}, nil)
	}
	return true
}

// maxTombstoneBlocks is far above what a job has.
const maxTombstoneBlocks = 1000

func checkBlocks(blocks *metastorev1.BlockTombstones) error {
	if err := checkNames(blocks.GetName(), blocks.GetTenant()); err != nil {
		return err
	}
	if n := len(blocks.GetBlocks()); n == 0 || n > maxTombstoneBlocks {
		return fmt.Errorf("%w: a tombstone of %d blocks, want 1 to %d", errRow, n, maxTombstoneBlocks)
	}
	for _, id := range blocks.GetBlocks() {
		if _, err := metastorev1.ParseID(id); err != nil {
			return fmt.Errorf("%w: %w", errRow, err)
		}
	}
	return nil
}

func checkShard(shard *metastorev1.ShardTombstone) error {
	if err := checkNames(shard.GetName(), shard.GetTenant()); err != nil {
		return err
	}
	if shard.GetTimestamp() <= 0 || shard.GetDuration() <= 0 || shard.GetTimestamp()+shard.GetDuration() < 0 {
		return fmt.Errorf("%w: a tombstone of a shard from %d ns, %d ns long", errRow, shard.GetTimestamp(), shard.GetDuration())
	}
	return nil
}

func checkNames(name, tenant string) error {
	const nameMax = 8 << 10
	if name == "" || len(name) > nameMax || !utf8.ValidString(name) {
		return fmt.Errorf("%w: the tombstone's name has %d bytes, want UTF-8 of 1 to %d", errRow, len(name), nameMax)
	}
	if len(tenant) > metastorev1.MaxTenantBytes || !utf8.ValidString(tenant) {
		return fmt.Errorf("%w: the tenant's name has %d bytes, want UTF-8 of at most %d", errRow, len(tenant), metastorev1.MaxTenantBytes)
	}
	return nil
}

// planTombstonesOf finds the encoded tombstones of an encoded plan.
func planTombstonesOf(plan []byte) ([][]byte, error) {
	var found [][]byte
	for rest := plan; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return nil, fmt.Errorf("%w: not a job's plan: %w", errRow, protowire.ParseError(n))
		}
		field := rest[:n]
		rest = rest[n:]
		if number != planTombstones {
			continue
		}
		_, kind, tag := protowire.ConsumeTag(field)
		value, size := protowire.ConsumeBytes(field[tag:])
		if kind != protowire.BytesType || size < 0 {
			return nil, fmt.Errorf("%w: a job's tombstones are no message", errRow)
		}
		found = append(found, value)
	}
	return found, nil
}
