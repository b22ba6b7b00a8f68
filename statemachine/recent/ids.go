package recent

import (
	"slices"

	"github.com/oklog/ulid/v2"
)

// IDs are the greatest ids of a set, which tell of most others whether they are in it
// without a look: ids begin with the time, and come about in order, though they
// overtake each other. The zero value holds the ids of an empty set.
type IDs struct {
	// No id above is in the set, but for some of those.
	floor ulid.ULID
	above []ulid.ULID // ascending
}

// maxIDs is the number of ids that are kept, at most.
const maxIDs = 256

// After returns what is known of a set from its greatest id.
func After(greatest ulid.ULID) IDs { return IDs{floor: greatest} }

// Absent tells whether an id is known not to be in the set. The set may hold fewer than
// it once did.
func (s *IDs) Absent(id ulid.ULID) bool {
	if id.Compare(s.floor) <= 0 {
		return false
	}
	_, found := s.find(id)
	return !found
}

// Add notes that an id is in the set from now on.
func (s *IDs) Add(id ulid.ULID) {
	if id.Compare(s.floor) <= 0 {
		return
	}
	at, found := s.find(id)
	if found {
		return
	}
	if s.above = slices.Insert(s.above, at, id); len(s.above) > maxIDs {
		const half = maxIDs / 2
		s.floor = s.above[half-1]
		s.above = slices.Delete(s.above, 0, half)
	}
}

// Bytes is about what the ids take in memory.
func (s *IDs) Bytes() int { return 16 * (1 + cap(s.above)) }

func (s *IDs) find(id ulid.ULID) (int, bool) {
	return slices.BinarySearchFunc(s.above, id, ulid.ULID.Compare)
}
