package sim

import (
	"time"

	"github.com/skerrydb/skerry/planner"
)

// BlockID makes the ULID of a block: its creation time, to the millisecond, and a
// number that tells it from others of that time.
func BlockID(created planner.Time, number uint64) string {
	const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var id [26]byte
	for i, value := 25, number; i >= 10; i, value = i-1, value/32 {
		id[i] = digits[value%32]
	}
	for i, value := 9, uint64(created)/uint64(time.Millisecond); i >= 0; i, value = i-1, value/32 {
		id[i] = digits[value%32]
	}
	return string(id[:])
}
