package queue

import (
	"slices"

	"github.com/oklog/ulid/v2"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Writer changes the queue in one transaction.
type Writer struct {
	tx      *kv.Tx
	known   *Known
	changed []*known // since the last Flush
	// Levels whose totals changed.
	recounted [Levels]bool
	tables    [5]*kv.Bucket // opened when needed
	key       []byte        // the row in use: the store copies it
}

// The tables, in the order they are made.
const (
	blocksTable = iota
	oldestTable
	fullTable
	returnedTable
	totalsTable
)

var tableNames = [5][]byte{blocksName, oldestName, fullName, returnedName, totalsName}

// NewWriter returns a writer for a writable transaction. Call Flush before that
// commits; if it does not, known must not be used again. nil stands for no knowledge.
func NewWriter(tx *kv.Tx, known *Known) (*Writer, error) {
	if known == nil {
		known = NewKnown()
	}
	w := &Writer{tx: tx, known: known}
	known.keys.Age()
	if known.made {
		return w, nil
	}
	for i, name := range tableNames {
		var err error
		if w.tables[i], err = tx.CreateBucketIfNotExists(name); err != nil {
			return nil, err
		}
	}
	known.made = true
	return w, nil
}

func (w *Writer) table(i int) *kv.Bucket {
	if w.tables[i] == nil {
		w.tables[i] = w.tx.Bucket(tableNames[i])
	}
	return w.tables[i]
}

func (w *Writer) blocks() *kv.Bucket   { return w.table(blocksTable) }
func (w *Writer) oldest() *kv.Bucket   { return w.table(oldestTable) }
func (w *Writer) full() *kv.Bucket     { return w.table(fullTable) }
func (w *Writer) returned() *kv.Bucket { return w.table(returnedTable) }
func (w *Writer) totals() *kv.Bucket   { return w.table(totalsTable) }

// Push adds a block that came at a log time. A block that waits already stays
// where it is.
func (w *Writer) Push(key Key, id ulid.ULID, at int64) error {
	k, err := w.of(key)
	if err != nil || w.waits(k, id) {
		return err
	}
	var room [placeSize]byte
	if err := w.blocks().Put(w.row(k, tagID, id[:]), appendTime(room[:0], at)); err != nil {
		return err
	}
	if err := w.blocks().Put(w.row(k, tagBlock, Place{at, id}.append(room[:0])), nil); err != nil {
		return err
	}
	if k.loaded {
		k.blocks.Add(id)
	}
	oldest := at
	if k.now.blocks > 0 {
		oldest = min(k.now.oldest, at)
	}
	return w.change(k, 1, oldest)
}

// Has tells whether a block waits.
func (w *Writer) Has(key Key, id ulid.ULID) bool {
	return w.blocks().Get(row(key.prefix(), tagID, id[:])) != nil
}

// Take removes blocks; those that do not wait are passed over.
func (w *Writer) Take(key Key, ids []ulid.ULID) error {
	k, err := w.of(key)
	if err != nil {
		return err
	}
	taken := 0
	for _, id := range ids {
		idRow := row(k.prefix, tagID, id[:])
		stored := w.blocks().Get(idRow)
		if stored == nil {
			continue
		}
		if len(stored) != 8 {
			return errRow
		}
		if err := w.blocks().Delete(row(k.prefix, tagBlock, Place{decodeTime(stored), id}.append(nil))); err != nil {
			return err
		}
		if err := w.blocks().Delete(idRow); err != nil {
			return err
		}
		taken++
	}
	if taken == 0 {
		return nil
	}
	if int(k.now.blocks) == taken {
		return w.change(k, -taken, 0)
	}
	first := row(k.prefix, tagBlock, nil)
	found, _ := w.blocks().Cursor().Seek(first)
	if len(found) != len(first)+placeSize || string(found[:len(first)]) != string(first) {
		return errRow // the numbers say that there are blocks left
	}
	return w.change(k, -taken, decodeTime(found[len(first):]))
}

// move keeps the row of a key in an order for keys with at least so many blocks.
func move(order func() *kv.Bucket, key Key, before, after numbers, least uint32) error {
	was, is := before.blocks >= least, after.blocks >= least
	if was == is && (!is || before.oldest == after.oldest) {
		return nil
	}
	if was {
		if err := order().Delete(key.orderKey(before.oldest)); err != nil {
			return err
		}
	}
	if is {
		return order().Put(key.orderKey(after.oldest), nil)
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
	if err := w.blocks().Put(row(key.prefix(), tagReturned, ids[0][:]), encoded); err != nil {
		return err
	}
	if err := w.count(key.Level, 0, len(batch.GetBlocks())); err != nil {
		return err
	}
	return w.returned().Put(key.returnedKey(batch.GetNotBefore(), ids[0]), nil)
}

// Batch returns the batch that begins with a block, nil if there is none.
func (w *Writer) Batch(key Key, first ulid.ULID) (*raftlogv1.BlockBatch, error) {
	stored := w.blocks().Get(row(key.prefix(), tagReturned, first[:]))
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
	if err := w.blocks().Delete(row(key.prefix(), tagReturned, first[:])); err != nil {
		return err
	}
	if err := w.count(key.Level, 0, -len(batch.GetBlocks())); err != nil {
		return err
	}
	return w.returned().Delete(key.returnedKey(batch.GetNotBefore(), first))
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
	cursor := w.blocks().Cursor()
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
	cursor := w.blocks().Cursor()
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

// row returns a row of a key, valid until the next one.
func (w *Writer) row(k *known, tag byte, rest []byte) []byte {
	w.key = append(append(append(w.key[:0], k.prefix...), tag), rest...)
	return w.key
}

func row(prefix []byte, tag byte, rest []byte) []byte {
	b := make([]byte, 0, len(prefix)+1+len(rest))
	return append(append(append(b, prefix...), tag), rest...)
}
