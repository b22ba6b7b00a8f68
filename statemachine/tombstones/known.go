package tombstones

import (
	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/statemachine/recent"
)

// Known is what writers have read, kept so that the next one need not read it again. It
// is of one table, for one writer at a time, and to be thrown away if a transaction
// does not commit, or if somebody else has changed the table.
type Known struct {
	// The tables are there.
	made   bool
	owners *recent.Map[owner, newest]
}

// knownOwners bounds what is known.
const knownOwners = 512

type owner struct {
	tenant string
	shard  uint32
}

// newest is a block, once it is loaded: no tombstone of its owner remembers a younger one.
type newest struct {
	loaded bool
	id     ulid.ULID
}

// NewKnown returns one of which nothing is known.
func NewKnown() *Known { return &Known{owners: recent.New[owner, newest](knownOwners)} }

// remember notes that a tombstone remembers a block.
func (k *Known) remember(tenant string, shard uint32, id ulid.ULID) {
	if n := k.owners.Get(owner{tenant, shard}); n != nil && n.id.Compare(id) < 0 {
		n.id = id
	}
}

// younger tells whether a block is known to be younger than any that a tombstone
// remembers, as are most that come: what was compacted came before. An owner asked for
// once need not be asked for again: only then it is worth a look at what there is.
func (w *Writer) younger(tenant string, shard uint32, id ulid.ULID) bool {
	n := w.known.owners.Get(owner{tenant, shard})
	switch {
	case n == nil:
		w.known.owners.Put(owner{tenant, shard}, &newest{})
		return false
	case !n.loaded:
		n.id, n.loaded = w.newest(tenant, shard), true
	}
	return id.Compare(n.id) > 0
}

// newest returns the youngest block of an owner that a tombstone remembers, zero if
// there is none.
func (w *Writer) newest(tenant string, shard uint32) ulid.ULID {
	of := ownerKey(tenant, shard)
	var last ulid.ULID
	for i := range last {
		last[i] = 0xff
	}
	cursor := w.compacted().Cursor()
	found, _ := cursor.Seek(append(of[:len(of):len(of)], last[:]...))
	switch {
	case found == nil:
		found, _ = cursor.Last()
	case string(found) != string(of)+string(last[:]):
		found, _ = cursor.Prev()
	}
	if len(found) != len(of)+len(last) || string(found[:len(of)]) != string(of) {
		return ulid.ULID{}
	}
	return ulid.ULID(found[len(of):])
}
