package queue

import (
	"bytes"
	"encoding/binary"
	"iter"

	"github.com/oklog/ulid/v2"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

func (k Key) returnedKey(notBefore int64, first ulid.ULID) []byte {
	b := append(appendTime([]byte{byte(k.Level)}, notBefore), first[:]...)
	b = binary.BigEndian.AppendUint32(b, k.Shard)
	return append(b, k.Tenant...)
}

const returnedFixed = 1 + placeSize + 4

// View reads the queue in one transaction. Lists are lazy: a seek, and a step for
// each row taken.
type View struct{ tx *kv.Tx }

// NewView returns a view; the transaction must outlive it.
func NewView(tx *kv.Tx) View { return View{tx} }

// Waiting is a key whose blocks wait.
type Waiting struct {
	Key
	// Log time at which the block came that waits longest, Unix nanoseconds.
	Oldest int64
	// At least 1.
	Blocks int
}

// Oldest lists the keys of a level by the time of their oldest block, data
// shard, tenant.
func (v View) Oldest(level uint32) iter.Seq2[Waiting, error] {
	return v.ordered(oldestName, []byte{byte(level)})
}

// FullKeys lists, in the same order, the keys that have Full blocks, and whose
// oldest block came at a time or later.
func (v View) FullKeys(level uint32, from int64) iter.Seq2[Waiting, error] {
	return v.ordered(fullName, appendTime([]byte{byte(level)}, from))
}

func (v View) ordered(name, first []byte) iter.Seq2[Waiting, error] {
	return func(yield func(Waiting, error) bool) {
		order, blocks := v.tx.Bucket(name), v.tx.Bucket(blocksName)
		if order == nil || blocks == nil {
			return
		}
		cursor := order.HeadCursor(first[:1])
		defer cursor.Release()
		k, _ := cursor.First()
		if bytes.Compare(k, first) < 0 && k != nil {
			k, _ = cursor.Seek(first)
		}
		for ; k != nil; k, _ = cursor.Next() {
			key, oldest, err := decodeOrderKey(k)
			var n numbers
			if err == nil {
				n, err = decodeNumbers(blocks.Get(row(key.prefix(), tagNumbers, nil)))
			}
			if !yield(Waiting{key, oldest, int(n.blocks)}, err) || err != nil {
				return
			}
		}
	}
}

// Blocks lists the blocks of a key in order of arrival, behind a place; the zero
// place is before all.
func (v View) Blocks(key Key, after Place) iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		blocks := v.tx.Bucket(blocksName)
		if blocks == nil {
			return
		}
		prefix := row(key.prefix(), tagBlock, nil)
		first := prefix
		if after != (Place{}) {
			first = after.append(prefix[:len(prefix):len(prefix)])
		}
		cursor := blocks.PrefixCursor(prefix)
		defer cursor.Release()
		for k, _ := cursor.Seek(first); k != nil; k, _ = cursor.Next() {
			place, err := decodePlace(k[len(prefix):])
			if err == nil && place == after {
				continue
			}
			if !yield(place, err) || err != nil {
				return
			}
		}
	}
}

// Returned is a batch that a failed job gave back.
type Returned struct {
	Key
	*raftlogv1.BlockBatch
}

// Returned lists the batches of a level by the time they are due, then by their
// first block.
func (v View) Returned(level uint32) iter.Seq2[Returned, error] {
	return func(yield func(Returned, error) bool) {
		order, blocks := v.tx.Bucket(returnedName), v.tx.Bucket(blocksName)
		if order == nil || blocks == nil {
			return
		}
		cursor := order.HeadCursor([]byte{byte(level)})
		defer cursor.Release()
		for k, _ := cursor.First(); k != nil; k, _ = cursor.Next() {
			found, err := decodeReturned(blocks, k)
			if !yield(found, err) || err != nil {
				return
			}
		}
	}
}

func decodeReturned(blocks *kv.Bucket, order []byte) (Returned, error) {
	if len(order) < returnedFixed {
		return Returned{}, errRow
	}
	key := Key{Tenant: string(order[returnedFixed:]), Shard: binary.BigEndian.Uint32(order[returnedFixed-4:]), Level: uint32(order[0])}
	stored := blocks.Get(row(key.prefix(), tagReturned, order[9:9+16]))
	if stored == nil {
		return Returned{}, errRow
	}
	batch := &raftlogv1.BlockBatch{}
	return Returned{key, batch}, batch.UnmarshalVT(stored)
}
