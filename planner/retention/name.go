package retention

import (
	"fmt"
	"time"
)

// PartitionDuration is the length of a partition. It is for ever.
const PartitionDuration = 6 * time.Hour

// TombstoneName names the tombstone of an index shard. Segments have the empty
// tenant, which no tenant has; and no job's name, which names the tombstone of the
// job's sources, has a space.
func TombstoneName(place Place) string {
	start := time.Unix(0, int64(place.Partition)).UTC().Format("2006-01-02 15:04:05")
	return fmt.Sprintf("%s (%v)-T%s-S%d", start, PartitionDuration, place.Tenant, place.Shard)
}
