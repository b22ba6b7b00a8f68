package queue

import (
	"slices"

	"github.com/oklog/ulid/v2"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Writer changes the queue in one transaction.
type Writer struct {
	blocks, oldest, full, returned, totals *kv.Bucket

	// Totals of the levels that were counted in this transaction.
	sums    [Levels]Totals
	counted [Levels]bool
}

// NewWriter returns a writer for a writable transaction.
func NewWriter(tx *kv.Tx) (*Writer, error) {
	w := &Writer{}
	for _, table := range []struct {
		name   []byte
		bucket **kv.Bucket
	}{{blocksName, &w.blocks}, {oldestName, &w.oldest}, {fullName, &w.full}, {returnedName, &w.returned}, {totalsName, &w.totals}} {
		var err error
		if *table.bucket, err = tx.CreateBucketIfNotExists(table.name); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Push adds a block that came at a log time. A block that waits already stays
// where it is.
func (w *Writer) Push(key Key, id ulid.ULID, at int64) error {
	prefix := key.prefix()
	idRow := row(prefix, tagID, id[:])
	if w.blocks.Get(idRow) != nil {
		return nil
	}
	if err := w.blocks.Put(idRow, appendTime(nil, at)); err != nil {
		return err
	}
	if err := w.blocks.Put(row(prefix, tagBlock, Place{at, id}.append(nil)), nil); err != nil {
		return err
	}
	return w.change(key, prefix, 1, func(now numbers) (int64, error) {
		if now.blocks == 1 {
			return at, nil
		}
		return min(now.oldest, at), nil
	})
}

// Has tells whether a block waits.
func (w *Writer) Has(key Key, id ulid.ULID) bool {
	return w.blocks.Get(row(key.prefix(), tagID, id[:])) != nil
}

// Take removes blocks; those that do not wait are passed over.
func (w *Writer) Take(key Key, ids []ulid.ULID) error {
	prefix := key.prefix()
	taken := 0
	for _, id := range ids {
		idRow := row(prefix, tagID, id[:])
		stored := w.blocks.Get(idRow)
		if stored == nil {
			continue
		}
		if len(stored) != 8 {
			return errRow
		}
		if err := w.blocks.Delete(row(prefix, tagBlock, Place{decodeTime(stored), id}.append(nil))); err != nil {
			return err
		}
		if err := w.blocks.Delete(idRow); err != nil {
			return err
		}
		taken++
	}
	if taken == 0 {
		return nil
	}
	return w.change(key, prefix, -taken, func(numbers) (int64, error) {
		first := row(prefix, tagBlock, nil)
		found, _ := w.blocks.Cursor().Seek(first)
		if len(found) != len(first)+placeSize || string(found[:len(first)]) != string(first) {
			return 0, errRow // the numbers say that there are blocks left
		}
		return decodeTime(found[len(first):]), nil
	})
}

// change adds to the number of a key's blocks and moves the key in the orders.
// oldest is asked for the time of the oldest block, if there is any.
func (w *Writer) change(key Key, prefix []byte, by int, oldest func(numbers) (int64, error)) error {
	numbersRow := row(prefix, tagNumbers, nil)
	var before, after numbers
	if stored := w.blocks.Get(numbersRow); stored != nil {
		var err error
		if before, err = decodeNumbers(stored); err != nil {
			return err
		}
	}
	after.blocks = uint32(int(before.blocks) + by)
	if after.blocks > 0 {
		var err error
		if after.oldest, err = oldest(numbers{before.oldest, after.blocks}); err != nil {
			return err
		}
		if err := w.blocks.Put(numbersRow, after.encode()); err != nil {
			return err
		}
	} else if err := w.blocks.Delete(numbersRow); err != nil {
		return err
	}
	if err := w.count(key.Level, by, 0); err != nil {
		return err
	}
	if err := move(w.oldest, key, before, after, 1); err != nil {
		return err
	}
	return move(w.full, key, before, after, uint32(Full[key.Level]))
}

// move keeps the row of a key in an order for keys with at least so many blocks.
func move(order *kv.Bucket, key Key, before, after numbers, least uint32) error {
	was, is := before.blocks >= least, after.blocks >= least
	if was == is && before.oldest == after.oldest {
		return nil
	}
	if was {
		if err := order.Delete(key.orderKey(before.oldest)); err != nil {
			return err
		}
	}
	if is {
		return order.Put(key.orderKey(after.oldest), nil)
	}
	return nil
}

// Return adds a batch of blocks, ascending, that a failed job gave back. One that
// begins with the same block, as can be if the block came a second time, becomes
// a part of it.
func (w *Writer) Return(key Key, ids []ulid.ULID, batch *raftlogv1.BlockBatch) error {
	other, err := w.Batch(key, ids[0])
	if err != nil {
		return err
	}
	if other != nil {
		if err := w.TakeBatch(key, ids[0]); err != nil {
			return err
		}
		batch = &raftlogv1.BlockBatch{
			Blocks:   slices.Compact(slices.Sorted(slices.Values(slices.Concat(batch.GetBlocks(), other.GetBlocks())))),
			Attempts: max(batch.GetAttempts(), other.GetAttempts()), NotBefore: max(batch.GetNotBefore(), other.GetNotBefore()),
		}
	}
	encoded, err := batch.MarshalVT()
	if err != nil {
		return err
	}
	if err := w.blocks.Put(row(key.prefix(), tagReturned, ids[0][:]), encoded); err != nil {
		return err
	}
	if err := w.count(key.Level, 0, len(batch.GetBlocks())); err != nil {
		return err
	}
	return w.returned.Put(key.returnedKey(batch.GetNotBefore(), ids[0]), nil)
}

// Batch returns the batch that begins with a block, nil if there is none.
func (w *Writer) Batch(key Key, first ulid.ULID) (*raftlogv1.BlockBatch, error) {
	stored := w.blocks.Get(row(key.prefix(), tagReturned, first[:]))
	if stored == nil {
		return nil, nil
	}
	batch := &raftlogv1.BlockBatch{}
	return batch, batch.UnmarshalVT(stored)
}

// TakeBatch removes the batch that begins with a block.
func (w *Writer) TakeBatch(key Key, first ulid.ULID) error {
	batch, err := w.Batch(key, first)
	if batch == nil || err != nil {
		return err
	}
	if err := w.blocks.Delete(row(key.prefix(), tagReturned, first[:])); err != nil {
		return err
	}
	if err := w.count(key.Level, 0, -len(batch.GetBlocks())); err != nil {
		return err
	}
	return w.returned.Delete(key.returnedKey(batch.GetNotBefore(), first))
}

// Forget removes the blocks of a tenant and data shard that gone names, from
// queues and batches of all levels.
func (w *Writer) Forget(tenant string, shard uint32, gone func(ulid.ULID) bool) error {
	for level := range uint32(Levels) {
		key := Key{tenant, shard, level}
		if err := w.forgetQueued(key, gone); err != nil {
			return err
		}
		if err := w.forgetReturned(key, gone); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) forgetQueued(key Key, gone func(ulid.ULID) bool) error {
	first := row(key.prefix(), tagBlock, nil)
	var ids []ulid.ULID
	cursor := w.blocks.Cursor()
	for k, _ := cursor.Seek(first); len(k) == len(first)+placeSize && string(k[:len(first)]) == string(first); k, _ = cursor.Next() {
		place, err := decodePlace(k[len(first):])
		if err != nil {
			return err
		}
		if gone(place.ID) {
			ids = append(ids, place.ID)
		}
	}
	return w.Take(key, ids)
}

func (w *Writer) forgetReturned(key Key, gone func(ulid.ULID) bool) error {
	first := row(key.prefix(), tagReturned, nil)
	var firsts []ulid.ULID
	cursor := w.blocks.Cursor()
	for k, _ := cursor.Seek(first); len(k) == len(first)+16 && string(k[:len(first)]) == string(first); k, _ = cursor.Next() {
		firsts = append(firsts, ulid.ULID(k[len(first):]))
	}
	for _, id := range firsts {
		batch, err := w.Batch(key, id)
		if err != nil {
			return err
		}
		var ids []ulid.ULID
		var left []string
		for _, text := range batch.GetBlocks() {
			member, err := ulid.ParseStrict(text)
			if err != nil {
				return err
			}
			if !gone(member) {
				ids, left = append(ids, member), append(left, text)
			}
		}
		if len(left) == len(batch.GetBlocks()) {
			continue
		}
		if err := w.TakeBatch(key, id); err != nil {
			return err
		}
		if len(left) == 0 {
			continue
		}
		batch.Blocks = left
		if err := w.Return(key, ids, batch); err != nil {
			return err
		}
	}
	return nil
}

func row(prefix []byte, tag byte, rest []byte) []byte {
	b := make([]byte, 0, len(prefix)+1+len(rest))
	return append(append(append(b, prefix...), tag), rest...)
}
