// Package index is the table of block metadata: partition, tenant and data
// shard, each with its time bounds, its string table and its block entries.
//
// Layout, inside a group's namespace:
//
//	"tenant", "stream"                       a root bucket per keyspace
//	  point | partition | shard | tenant     a bucket per index shard; numbers are
//	                                         big endian (8, 8 and 4 bytes), so a
//	                                         range of points is contiguous, and
//	                                         dropping a shard is one bucket delete
//	    'i'                                  Record: bounds, counts, revision
//	    's' first                            strings, from number first on
//	    'b' ulid                             BlockMeta; its string references lead
//	                                         into the shard's table
//	    't' tenant                           streams only: bounds of one tenant's
//	                                         datasets
//
// The table never looks at ownership, clocks or other tables; its caller does.
package index
