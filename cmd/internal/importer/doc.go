// Package importer brings what a stock Pyroscope metastore knows into a cluster, and
// verifies that it is there.
//
//	survey   reads the whole source: counts, damage, tombstones
//	pause    no compaction while blocks come, or sources would go before their results
//	check    is the cluster empty, or does it hold nothing but what the source has?
//	add      blocks, many in a call; what is there already is left out
//	verify   each block is read back and compared; the cluster holds no other
//	bury     tombstones, after the blocks: none that stands for a live block
//	warn     of what retention is about to remove, for want of the old one's settings
//	resume   compaction
//
// Each step may be repeated, so an import that was interrupted is begun again. The
// source is read as a stream: memory grows with its tenants and tombstones, not with
// its blocks.
package importer
