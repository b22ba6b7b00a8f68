package kv

import (
	"bytes"
	"fmt"
)

// Stats counts a handle's reading transactions. The page figures of bbolt are zero.
type Stats struct {
	TxStats TxStats

	FreePageN     int
	PendingPageN  int
	FreeAlloc     int
	FreelistInuse int

	TxN     int // reading transactions begun
	OpenTxN int // reading transactions open
}

// Sub returns what changed since other: counters are subtracted, states are the receiver's except
// OpenTxN, which is zero. A nil other gives a copy.
func (s *Stats) Sub(other *Stats) Stats {
	if other == nil {
		return *s
	}
	return Stats{
		FreePageN:     s.FreePageN,
		PendingPageN:  s.PendingPageN,
		FreeAlloc:     s.FreeAlloc,
		FreelistInuse: s.FreelistInuse,
		TxN:           s.TxN - other.TxN,
		TxStats:       s.TxStats.Sub(&other.TxStats),
	}
}

// Stats returns the counters now.
func (db *DB) Stats() Stats {
	return Stats{TxN: int(db.txCount.Load()), OpenTxN: int(db.txOpen.Load())}
}

// BucketStats counts what a bucket holds. Only KeyN and BucketN are counted.
type BucketStats struct {
	BranchPageN     int
	BranchOverflowN int
	LeafPageN       int
	LeafOverflowN   int

	KeyN  int // pairs and bucket entries inside, at all depths
	Depth int

	BranchAlloc int
	BranchInuse int
	LeafAlloc   int
	LeafInuse   int

	BucketN           int // the bucket and all below it
	InlineBucketN     int
	InlineBucketInuse int
}

// Add adds the counts of another bucket.
func (s *BucketStats) Add(other BucketStats) {
	s.BranchPageN += other.BranchPageN
	s.BranchOverflowN += other.BranchOverflowN
	s.LeafPageN += other.LeafPageN
	s.LeafOverflowN += other.LeafOverflowN
	s.KeyN += other.KeyN
	s.Depth = max(s.Depth, other.Depth)
	s.BranchAlloc += other.BranchAlloc
	s.BranchInuse += other.BranchInuse
	s.LeafAlloc += other.LeafAlloc
	s.LeafInuse += other.LeafInuse
	s.BucketN += other.BucketN
	s.InlineBucketN += other.InlineBucketN
	s.InlineBucketInuse += other.InlineBucketInuse
}

// Stats counts everything inside the bucket by reading it.
func (b *Bucket) Stats() BucketStats {
	var stats BucketStats
	if b.tx.db == nil || !b.exists() {
		return stats
	}
	it := b.tx.newIterator(b.lower, b.upper)
	defer b.tx.freeIterator(it)
	stats.BucketN = 1
	for ok := it.First(); ok; ok = it.Next() {
		stats.KeyN++
		if bytes.HasSuffix(it.Key(), []byte{byteEscape, endBucket}) {
			stats.BucketN++
		}
	}
	if err := it.Error(); err != nil {
		panic(fmt.Errorf("%w: %w", ErrRead, err))
	}
	return stats
}

// Size estimates the bytes of tables that hold the database, including what is still to be
// compacted away. It is not exact: in particular it is not the length of what WriteTo writes.
func (tx *Tx) Size() int64 {
	if tx.db == nil {
		return 0
	}
	n, err := tx.db.engine.store.Size(tx.db.ns.span)
	if err != nil {
		return 0
	}
	return int64(n)
}

// Stats returns zero.
func (tx *Tx) Stats() TxStats { return TxStats{} }
