package queue

import (
	"encoding/binary"
	"fmt"

	"github.com/skerrydb/skerry/storage/kv"
)

// Totals is how much of a level waits, of all keys.
type Totals struct {
	// Blocks in the queue, and in batches that failed jobs gave back.
	Blocks, Returned uint64
}

var totalsName = []byte("queue-totals")

func (t Totals) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, t.Blocks), t.Returned)
}

func loadTotals(rows *kv.Bucket, level uint32) (Totals, error) {
	stored := rows.Get([]byte{byte(level)})
	switch len(stored) {
	case 0:
		return Totals{}, nil
	case 16:
		return Totals{binary.BigEndian.Uint64(stored), binary.BigEndian.Uint64(stored[8:])}, nil
	}
	return Totals{}, errRow
}

// count adds to a level's totals, which Flush writes.
func (w *Writer) count(level uint32, blocks, returned int) error {
	k := w.known
	if !k.counted[level] {
		var err error
		if k.sums[level], err = loadTotals(w.totals(), level); err != nil {
			return err
		}
		k.counted[level] = true
	}
	t := &k.sums[level]
	after := Totals{t.Blocks + uint64(blocks), t.Returned + uint64(returned)}
	if int64(after.Blocks) < 0 || int64(after.Returned) < 0 {
		return fmt.Errorf("%w: fewer than no blocks wait at level %d", errRow, level)
	}
	*t, w.recounted[level] = after, true
	return nil
}

// Flush writes numbers, orders and totals. It must be called once, before the
// transaction commits.
func (w *Writer) Flush() error {
	for _, k := range w.changed {
		k.changed = false
		if err := w.flush(k); err != nil {
			return err
		}
	}
	for level := range uint32(Levels) {
		if !w.recounted[level] {
			continue
		}
		if err := w.totals().Put([]byte{byte(level)}, w.known.sums[level].encode()); err != nil {
			return err
		}
	}
	return nil
}

// Totals returns how much of a level waits.
func (v View) Totals(level uint32) (Totals, error) {
	rows := v.tx.Bucket(totalsName)
	if rows == nil {
		return Totals{}, nil
	}
	return loadTotals(rows, level)
}
