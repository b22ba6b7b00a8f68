// Package index is the table of block metadata: which blocks there are, found
// by id, and by tenant, time and labels.
//
// Layout, inside a group's namespace:
//
//	"tenant", "stream"                       a root bucket per keyspace
//	  point | partition | shard | tenant     a bucket per index shard; numbers are
//	                                         big endian (8, 8 and 4 bytes), so a
//	                                         range of points is contiguous, and
//	                                         dropping a shard is one bucket delete
//	    'b' number                           entry of a block, numbered by arrival
//	    'o' tenant                           streams only: bounds of one owner's
//	                                         datasets
//	    'p' level, number                    postings: series → children that hold it
//	    'r'                                  Record: bounds, counts, versions
//	    's' first                            strings, from number first on
//	    't' first                            series, from number first on
//	    'u' ulid                             the block's number
//	"tenant-timeline", "stream-timeline"     which index shards hold an owner's data
//	  owner | level | start | shard          when (see timeline.go)
//
// A series is a label set of a tenant. Strings and series are stored once in a
// shard and numbered by first use; blocks refer to them by number. A selector
// is matched against the series, the postings lead from there to the blocks,
// and only these are decoded.
//
// The table never looks at ownership, clocks or other tables; its caller does.
package index
