package kv

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// writeIndex finds the latest write to a row in a transaction's batch. It is brought up to date when it
// is asked, so that writes which are never read back do not pay for it; then a write costs one hash.
// It knows no order: for that the batch itself is indexed (see Tx.index).
type writeIndex struct {
	slots  []writeSlot // open addressing; a power of two of them, at most half in use
	used   int
	seed   maphash.Seed
	end    int // how far the batch was read
	ranges []deletedRange
}

// writeSlot names a write by its place in the batch; at zero there is none.
type writeSlot struct {
	hash, at uint32
}

// deletedRange is a range deletion, of everything written before at and of what was there.
type deletedRange struct {
	at            uint32
	lower, higher []byte
}

const (
	minWriteSlots = 64
	// maxDeletedRanges bounds what a read goes through. More are rare: small buckets are deleted row
	// by row.
	maxDeletedRanges = 16
)

// update takes in what was written since the last time. It reports whether find can be asked.
func (w *writeIndex) update(repr []byte) bool {
	if w.end < len(repr) {
		w.read(repr)
	}
	return len(w.ranges) <= maxDeletedRanges
}

// find returns the value of the latest write to a row. It is not known if nothing in the batch touched
// the row; known and not found if that deleted it.
func (w *writeIndex) find(repr, key []byte) (value []byte, found, known bool) {
	slot := w.slot(repr, key, w.hash(key))
	for i := range w.ranges {
		r := &w.ranges[i]
		if r.at > slot.at && bytes.Compare(r.lower, key) <= 0 && bytes.Compare(key, r.higher) < 0 {
			return nil, false, true
		}
	}
	if slot.at == 0 {
		return nil, false, false
	}
	kind, _, value := writeAt(repr, slot.at)
	return value, kind == pebble.InternalKeyKindSet, true
}

func (w *writeIndex) read(repr []byte) {
	if w.slots == nil {
		w.seed = maphash.MakeSeed()
		w.slots = make([]writeSlot, minWriteSlots)
		w.end = batchrepr.HeaderLen
	}
	for rest := batchrepr.Reader(repr[w.end:]); len(rest) > 0; {
		at := uint32(len(repr) - len(rest))
		kind, key, value, ok, err := rest.Next()
		if !ok {
			panic(fmt.Errorf("kv: read batch: %v", err)) // memory only: a fault of this package
		}
		if kind == pebble.InternalKeyKindRangeDelete {
			w.ranges = append(w.ranges, deletedRange{at: at, lower: key, higher: value})
			continue
		}
		if 2*w.used >= len(w.slots) {
			w.grow()
		}
		hash := w.hash(key)
		slot := w.slot(repr, key, hash)
		if slot.at == 0 {
			w.used++
		}
		*slot = writeSlot{hash: hash, at: at}
	}
	w.end = len(repr)
}

func (w *writeIndex) hash(key []byte) uint32 { return uint32(maphash.Bytes(w.seed, key)) }

// slot returns the slot of a row, or the empty one where it would be.
func (w *writeIndex) slot(repr, key []byte, hash uint32) *writeSlot {
	mask := uint32(len(w.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &w.slots[i]
		if s.at == 0 {
			return s
		}
		if s.hash != hash {
			continue
		}
		if _, other, _ := writeAt(repr, s.at); bytes.Equal(other, key) {
			return s
		}
	}
}

func (w *writeIndex) grow() {
	old := w.slots
	w.slots = make([]writeSlot, 2*len(old))
	mask := uint32(len(w.slots) - 1)
	for _, s := range old {
		if s.at == 0 {
			continue
		}
		i := s.hash & mask
		for w.slots[i].at != 0 {
			i = (i + 1) & mask
		}
		w.slots[i] = s
	}
}

// writeAt reads one write.
func writeAt(repr []byte, at uint32) (kind pebble.InternalKeyKind, key, value []byte) {
	rest := batchrepr.Reader(repr[at:])
	kind, key, value, _, _ = rest.Next()
	return kind, key, value
}
