package kv

import (
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skerrydb/skerry/storage/compactions"
	_ "github.com/skerrydb/skerry/storage/malloc" // for the block cache
)

// formatMajorVersion is pinned: the version decides what older binaries can still open, so a
// newer library must not raise it by itself.
const formatMajorVersion = pebble.FormatValueSeparation

// pebbleOptions turns our few settings into those of the storage engine below.
func pebbleOptions(o EngineOptions, fs vfs.FS, events *engineEvents) *pebble.Options {
	p := &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: formatMajorVersion,
		ReadOnly:           o.ReadOnly,
		ErrorIfNotExists:   o.ReadOnly,
		DisableWAL:         o.Durability == NoWAL,
		// The storage engine takes its tables in memory, usually two, out of the cache.
		CacheSize:     o.CacheBytes + 2*o.MemTableBytes,
		MaxOpenFiles:  o.MaxOpenFiles,
		MemTableSize:  uint64(o.MemTableBytes),
		Logger:        events,
		EventListener: events.listener(),

		// Four tables: a burst is taken in while the first is being written out, instead
		// of stopping every group of the node.
		MemTableStopWritesThreshold: 4,

		// Reads go through every sublevel of L0: begin to compact at two. Stop writes late,
		// since a stop here is a stop of all groups.
		L0CompactionThreshold: 2,
		L0StopWritesThreshold: 40,

		// L1 as large as two full sets of tables written out, so L0 merges into it whole.
		LBaseMaxBytes: 64 << 20,

		// One compaction at rest, more when they fall behind, never all processors: Raft
		// needs some.
		CompactionConcurrencyRange: func() (int, int) {
			return 1, max(1, min(4, runtime.GOMAXPROCS(0)/2))
		},

		// Write tables out to the disk as they grow, not all at the end, so that the Raft
		// log's small fsyncs do not wait behind them.
		BytesPerSync: 512 << 10,

		// The bytes of a dropped bucket come back without waiting for the next write-out.
		FlushDelayDeleteRange: flushDelayDeleteRange,
	}
	p.Experimental.CompactionScheduler = compactions.New(o.CompactAfter)
	// Snappy-class compression above, zstd at the bottom where nine tenths of the data are.
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		return pebble.DBCompressionBalanced
	})
	p.TargetFileSizes[0] = 16 << 20
	for i := range p.Levels {
		l := &p.Levels[i]
		// Rows are some hundred bytes to some KB: 32 KB holds a scan's next rows and keeps
		// the index small; a point read from cache costs the same as with 16.
		l.BlockSize = 32 << 10
		l.IndexBlockSize = 512 << 10
		// Ten bits: a get of a missing key touches one data block in a hundred.
		l.FilterPolicy = bloom.FilterPolicy(10)
		if i > 0 {
			p.TargetFileSizes[i] = 2 * p.TargetFileSizes[i-1]
		}
	}
	// An ingest must be durable when it returns. As a flushable it would only be in the log,
	// which NoWAL does not write.
	p.Experimental.DisableIngestAsFlushable = func() bool { return true }
	return p
}

// tableOptions returns how tables to ingest are written: like those of the lowest level, where they
// end up in a namespace that was empty.
func tableOptions(o EngineOptions, store *pebble.DB, fs vfs.FS, events *engineEvents) sstable.WriterOptions {
	p := pebbleOptions(o, fs, events)
	p.EnsureDefaults()
	return p.MakeWriterOptions(len(p.Levels)-1, store.TableFormat())
}
