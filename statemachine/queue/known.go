package queue

import (
	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/statemachine/recent"
)

// Known is what writers have read, kept so that the next one need not read it again. It
// is of one table, for one writer at a time, and to be thrown away if a transaction
// does not commit, or if somebody else has changed the table.
type Known struct {
	// The tables are there.
	made    bool
	keys    *recent.Map[Key, known]
	sums    [Levels]Totals
	counted [Levels]bool
}

// knownKeys bounds what is known.
const knownKeys = 512

// NewKnown returns one of which nothing is known.
func NewKnown() *Known { return &Known{keys: recent.New[Key, known](knownKeys)} }

// known is what is known of a key.
type known struct {
	key    Key
	prefix []byte
	// As they are in the table, and as Flush will write them.
	stored, now numbers
	changed     bool
	// Blocks that wait, once they are loaded: it is worth a look at what there is only
	// for who asked before.
	blocks        recent.IDs
	asked, loaded bool
}

// of returns what is known of a key, at least its numbers.
func (w *Writer) of(key Key) (*known, error) {
	if k := w.known.keys.Get(key); k != nil {
		return k, nil
	}
	k := &known{key: key, prefix: key.prefix()}
	if stored := w.blocks().Get(row(k.prefix, tagNumbers, nil)); stored != nil {
		var err error
		if k.stored, err = decodeNumbers(stored); err != nil {
			return nil, err
		}
		k.now = k.stored
	}
	w.known.keys.Put(key, k)
	return k, nil
}

// waits tells whether a block waits.
func (w *Writer) waits(k *known, id ulid.ULID) bool {
	if k.asked && !k.loaded {
		k.blocks, k.loaded = recent.After(w.newest(k)), true
	}
	k.asked = true
	return !(k.loaded && k.blocks.Absent(id)) && w.blocks().Get(w.row(k, tagID, id[:])) != nil
}

// newest returns the highest block of a key, zero if none waits.
func (w *Writer) newest(k *known) ulid.ULID {
	first := row(k.prefix, tagID, nil)
	cursor := w.blocks().Cursor()
	found, _ := cursor.Seek(row(k.prefix, tagID+1, nil))
	if found == nil {
		found, _ = cursor.Last()
	} else {
		found, _ = cursor.Prev()
	}
	if len(found) != len(first)+16 || string(found[:len(first)]) != string(first) {
		return ulid.ULID{}
	}
	return ulid.ULID(found[len(first):])
}

// change adds to the number of a key's blocks. Many may come in one transaction, so
// the numbers and the key's places in the orders are written by Flush.
func (w *Writer) change(k *known, by int, oldest int64) error {
	k.now = numbers{oldest, uint32(int(k.now.blocks) + by)}
	if !k.changed {
		k.changed = true
		w.changed = append(w.changed, k)
	}
	return w.count(k.key.Level, by, 0)
}

// flush writes a key's numbers and its places in the orders.
func (w *Writer) flush(k *known) error {
	if k.now == k.stored {
		return nil
	}
	numbersRow := w.row(k, tagNumbers, nil)
	var err error
	if k.now.blocks > 0 {
		err = w.blocks().Put(numbersRow, k.now.encode())
	} else {
		err = w.blocks().Delete(numbersRow)
	}
	if err != nil {
		return err
	}
	if err := move(w.oldest, k.key, k.stored, k.now, 1); err != nil {
		return err
	}
	if err := move(w.full, k.key, k.stored, k.now, uint32(Full[k.key.Level])); err != nil {
		return err
	}
	k.stored = k.now
	return nil
}
