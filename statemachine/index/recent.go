package index

import (
	"slices"

	"github.com/oklog/ulid/v2"
)

// recentMax is the number of ids that a writer remembers of a shard: as many as
// come before one that was made earlier has found its way.
const recentMax = 512

// recentIDs are the greatest ids of a shard, so that most adds need not look
// whether their block is there: ids begin with the time, and come about in order.
type recentIDs struct {
	// All ids of the shard that are greater are in ids.
	floor ulid.ULID
	ids   []ulid.ULID // ascending
}

// has tells whether an id is there, or that it is not known.
func (r *recentIDs) has(id ulid.ULID) (there, known bool) {
	if id.Compare(r.floor) <= 0 {
		return false, false
	}
	_, there = r.find(id)
	return there, true
}

func (r *recentIDs) find(id ulid.ULID) (int, bool) {
	return slices.BinarySearchFunc(r.ids, id, ulid.ULID.Compare)
}

func (r *recentIDs) add(id ulid.ULID) {
	if id.Compare(r.floor) <= 0 {
		return
	}
	if at, there := r.find(id); !there {
		r.ids = slices.Insert(r.ids, at, id)
	}
	if len(r.ids) > recentMax {
		half := len(r.ids) / 2
		r.floor = r.ids[half-1]
		r.ids = append(r.ids[:0], r.ids[half:]...)
	}
}

func (r *recentIDs) remove(id ulid.ULID) {
	if at, there := r.find(id); there {
		r.ids = slices.Delete(r.ids, at, at+1)
	}
}
