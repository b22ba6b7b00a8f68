package retention

import (
	"iter"

	"github.com/skerrydb/skerry/planner"
)

// View is what a sweep reads: one consistent state of a group's index. Lists are
// lazy and sorted as said. A list that fails yields its error last.
type View interface {
	// Rows lists the index shards after a place, by partition, and within one in an
	// order that is always the same; the zero place is before all.
	Rows(after Place) iter.Seq2[Row, error]
	// TenantsOf lists the tenants of the segments of an index shard without tenant, by
	// name, with the end of their data. A tenant whose segments were all compacted may
	// still be listed.
	TenantsOf(partition planner.Time, shard uint32) iter.Seq2[TenantEnd, error]
	// OldestLive finds the oldest partition in which a tenant (empty for segments) and
	// data shard has live blocks.
	OldestLive(tenant string, shard uint32) (partition planner.Time, found bool, err error)
}

// Place is where an index shard stands in the order of View.Rows.
type Place struct {
	// Start of the partition.
	Partition planner.Time
	// Empty for segments.
	Tenant string
	Shard  uint32
}

// Row is what is known of an index shard.
type Row struct {
	Place
	// End of its data, Unix milliseconds, inclusive. It never shrinks.
	DataEnd int64
	// Live blocks and the bytes of their objects. There may be none.
	Blocks, Bytes uint64
	// Changes with every change of the index shard.
	Revision uint64
}

// TenantEnd is the end of one tenant's data in some segments.
type TenantEnd struct {
	// Empty for datasets without a tenant.
	Tenant string
	// Unix milliseconds, inclusive.
	DataEnd int64
}
