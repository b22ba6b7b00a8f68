package tombstones

import (
	"encoding/binary"
	"fmt"

	"github.com/skerrydb/skerry/storage/kv"
)

var (
	heldKey    = []byte("held")
	waitingKey = []byte("waiting")
)

func (w *Writer) count(held, waiting int) error {
	for _, total := range []struct {
		key []byte
		by  int
	}{{heldKey, held}, {waitingKey, waiting}} {
		if total.by == 0 {
			continue
		}
		after := stored(w.totals(), total.key) + uint64(total.by)
		if int64(after) < 0 {
			return fmt.Errorf("%w: fewer than no tombstones %s", errRow, total.key)
		}
		if err := w.totals().Put(total.key, binary.BigEndian.AppendUint64(nil, after)); err != nil {
			return err
		}
	}
	return nil
}

func stored(totals *kv.Bucket, key []byte) uint64 {
	value := totals.Get(key)
	if len(value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

// Totals returns how many tombstones are held, and how many of them no job
// carries.
func (v View) Totals() (held, waiting uint64) {
	if v.totals == nil {
		return 0, 0
	}
	return stored(v.totals, heldKey), stored(v.totals, waitingKey)
}
