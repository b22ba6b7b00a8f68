// Package retention decides which parts of the index one sweep removes: whole
// index shards, (partition, tenant, data shard), whose data is past its tenant's
// period.
//
//	marker of a tenant = now − its period
//
//	─────┬──────────────┬─────────────┬───────────────────► creation time
//	     │  partition   │    grace    │ marker: removed, if its data also ends before
//
// A shard removed leaves a tombstone that makes a worker delete everything in the
// shard's folder that was created before the partition's end. So for one tenant and
// shard the partitions go oldest first, and none goes while an older one still
// holds live blocks.
//
// Segments hold data of many tenants, most of which live in other groups. They are
// judged by what they hold themselves, not by which tenants this group knows: they
// stay as long as one tenant in them would.
//
// Nothing here looks at blocks: bounds of data time per index shard are enough.
package retention
