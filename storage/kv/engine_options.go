package kv

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
)

// Durability says what survives a crash of the process or of the machine.
type Durability int

const (
	// NoWAL writes no log. After a crash each namespace is at the state after some commit,
	// in commit order; Engine.Sync makes everything committed before it durable. It is
	// meant for state that a Raft log can replay.
	NoWAL Durability = iota
	// WALNoSync writes a log without waiting for it. The promise after a crash is that of
	// NoWAL; less is lost, and Engine.Sync costs one fsync instead of a flush.
	WALNoSync
	// WALSync waits for the log at each commit: a commit that returned survives.
	WALSync
)

// String returns the name of the mode.
func (d Durability) String() string {
	switch d {
	case NoWAL:
		return "no-wal"
	case WALNoSync:
		return "wal-no-sync"
	case WALSync:
		return "wal-sync"
	}
	return fmt.Sprintf("durability(%d)", int(d))
}

// EngineOptions are the settings of an Engine. The zero value works.
type EngineOptions struct {
	// Durability of commits. Zero: NoWAL.
	Durability Durability

	// CacheBytes is the size of the cache of uncompressed blocks shared by all namespaces. It
	// gives way to the third and fourth table in memory.
	// Zero: 128 MiB.
	CacheBytes int64

	// MemTableBytes is the size at which the table in memory is written out. Up to four are
	// held when the disk is slow. With NoWAL it is also about how much a crash loses.
	// Zero: 32 MiB. At most 2 GiB.
	MemTableBytes int64

	// CompactAfter is how long the store is open before it begins to compact: who waits for
	// a start to end wants the processors. Zero: at once. At most a minute.
	CompactAfter time.Duration

	// MaxOpenFiles bounds the file descriptors held for tables. Zero: 1000.
	MaxOpenFiles int

	// ReadOnly opens without changing anything: no file is made or written, so the directory may
	// lie on a file system that is mounted read-only. It must hold a store. Several who only
	// read may have it open at once.
	ReadOnly bool

	// Logger gets warnings and errors only. Nil: none are written.
	Logger *zap.Logger

	// FS is the file system, for tests. Nil: that of the machine, watched for slow disks.
	FS vfs.FS

	slowDiskAfter time.Duration // tests only, for a given FS; zero: not watched
}

const (
	defaultCacheBytes    = 128 << 20
	defaultMemTableBytes = 32 << 20
	minMemTableBytes     = 64 << 10
	maxMemTableBytes     = 2 << 30
	maxCompactAfter      = time.Minute
	defaultMaxOpenFiles  = 1000
	minOpenFiles         = 16
)

// Validate reports every fault of the options at once, joined.
func (o EngineOptions) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("kv: "+format, args...))
	}
	if o.Durability < NoWAL || o.Durability > WALSync {
		fault("unknown durability %d", int(o.Durability))
	}
	if o.CacheBytes < 0 {
		fault("cache bytes %d below zero", o.CacheBytes)
	}
	if o.MemTableBytes != 0 && (o.MemTableBytes < minMemTableBytes || o.MemTableBytes > maxMemTableBytes) {
		fault("mem table bytes %d outside %d to %d", o.MemTableBytes, minMemTableBytes, maxMemTableBytes)
	}
	if o.CompactAfter < 0 || o.CompactAfter > maxCompactAfter {
		fault("compact after %v outside 0 to %v", o.CompactAfter, maxCompactAfter)
	}
	if o.MaxOpenFiles != 0 && o.MaxOpenFiles < minOpenFiles {
		fault("max open files %d below %d", o.MaxOpenFiles, minOpenFiles)
	}
	return errors.Join(faults...)
}

func (o EngineOptions) withDefaults() EngineOptions {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = defaultMaxOpenFiles
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.FS == nil {
		o.FS, o.slowDiskAfter = vfs.Default, slowDiskAfter
	}
	return o
}
