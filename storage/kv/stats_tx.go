package kv

import (
	"sync/atomic"
	"time"
)

// TxStats exists for programs written for bbolt: the figures of a page store, which this is not.
// The store leaves them zero; the arithmetic works.
type TxStats struct {
	PageCount     int64
	PageAlloc     int64
	CursorCount   int64
	NodeCount     int64
	NodeDeref     int64
	Rebalance     int64
	RebalanceTime time.Duration
	Split         int64
	Spill         int64
	SpillTime     time.Duration
	Write         int64
	WriteTime     time.Duration
}

// Sub returns the receiver less other.
func (s *TxStats) Sub(other *TxStats) TxStats {
	return TxStats{
		PageCount:     s.PageCount - other.PageCount,
		PageAlloc:     s.PageAlloc - other.PageAlloc,
		CursorCount:   s.CursorCount - other.CursorCount,
		NodeCount:     s.NodeCount - other.NodeCount,
		NodeDeref:     s.NodeDeref - other.NodeDeref,
		Rebalance:     s.Rebalance - other.Rebalance,
		RebalanceTime: s.RebalanceTime - other.RebalanceTime,
		Split:         s.Split - other.Split,
		Spill:         s.Spill - other.Spill,
		SpillTime:     s.SpillTime - other.SpillTime,
		Write:         s.Write - other.Write,
		WriteTime:     s.WriteTime - other.WriteTime,
	}
}

// addDuration adds to a duration others may read and returns the sum.
func addDuration(d *time.Duration, delta time.Duration) time.Duration {
	return time.Duration(atomic.AddInt64((*int64)(d), int64(delta)))
}

func loadDuration(d *time.Duration) time.Duration {
	return time.Duration(atomic.LoadInt64((*int64)(d)))
}

// GetPageCount returns PageCount atomically.
func (s *TxStats) GetPageCount() int64 { return atomic.LoadInt64(&s.PageCount) }

// IncPageCount adds to PageCount atomically and returns the sum.
func (s *TxStats) IncPageCount(delta int64) int64 { return atomic.AddInt64(&s.PageCount, delta) }

// GetPageAlloc returns PageAlloc atomically.
func (s *TxStats) GetPageAlloc() int64 { return atomic.LoadInt64(&s.PageAlloc) }

// IncPageAlloc adds to PageAlloc atomically and returns the sum.
func (s *TxStats) IncPageAlloc(delta int64) int64 { return atomic.AddInt64(&s.PageAlloc, delta) }

// GetCursorCount returns CursorCount atomically.
func (s *TxStats) GetCursorCount() int64 { return atomic.LoadInt64(&s.CursorCount) }

// IncCursorCount adds to CursorCount atomically and returns the sum.
func (s *TxStats) IncCursorCount(delta int64) int64 { return atomic.AddInt64(&s.CursorCount, delta) }

// GetNodeCount returns NodeCount atomically.
func (s *TxStats) GetNodeCount() int64 { return atomic.LoadInt64(&s.NodeCount) }

// IncNodeCount adds to NodeCount atomically and returns the sum.
func (s *TxStats) IncNodeCount(delta int64) int64 { return atomic.AddInt64(&s.NodeCount, delta) }

// GetNodeDeref returns NodeDeref atomically.
func (s *TxStats) GetNodeDeref() int64 { return atomic.LoadInt64(&s.NodeDeref) }

// IncNodeDeref adds to NodeDeref atomically and returns the sum.
func (s *TxStats) IncNodeDeref(delta int64) int64 { return atomic.AddInt64(&s.NodeDeref, delta) }

// GetRebalance returns Rebalance atomically.
func (s *TxStats) GetRebalance() int64 { return atomic.LoadInt64(&s.Rebalance) }

// IncRebalance adds to Rebalance atomically and returns the sum.
func (s *TxStats) IncRebalance(delta int64) int64 { return atomic.AddInt64(&s.Rebalance, delta) }

// GetRebalanceTime returns RebalanceTime atomically.
func (s *TxStats) GetRebalanceTime() time.Duration { return loadDuration(&s.RebalanceTime) }

// IncRebalanceTime adds to RebalanceTime atomically and returns the sum.
func (s *TxStats) IncRebalanceTime(delta time.Duration) time.Duration {
	return addDuration(&s.RebalanceTime, delta)
}

// GetSplit returns Split atomically.
func (s *TxStats) GetSplit() int64 { return atomic.LoadInt64(&s.Split) }

// IncSplit adds to Split atomically and returns the sum.
func (s *TxStats) IncSplit(delta int64) int64 { return atomic.AddInt64(&s.Split, delta) }

// GetSpill returns Spill atomically.
func (s *TxStats) GetSpill() int64 { return atomic.LoadInt64(&s.Spill) }

// IncSpill adds to Spill atomically and returns the sum.
func (s *TxStats) IncSpill(delta int64) int64 { return atomic.AddInt64(&s.Spill, delta) }

// GetSpillTime returns SpillTime atomically.
func (s *TxStats) GetSpillTime() time.Duration { return loadDuration(&s.SpillTime) }

// IncSpillTime adds to SpillTime atomically and returns the sum.
func (s *TxStats) IncSpillTime(delta time.Duration) time.Duration {
	return addDuration(&s.SpillTime, delta)
}

// GetWrite returns Write atomically.
func (s *TxStats) GetWrite() int64 { return atomic.LoadInt64(&s.Write) }

// IncWrite adds to Write atomically and returns the sum.
func (s *TxStats) IncWrite(delta int64) int64 { return atomic.AddInt64(&s.Write, delta) }

// GetWriteTime returns WriteTime atomically.
func (s *TxStats) GetWriteTime() time.Duration { return loadDuration(&s.WriteTime) }

// IncWriteTime adds to WriteTime atomically and returns the sum.
func (s *TxStats) IncWriteTime(delta time.Duration) time.Duration {
	return addDuration(&s.WriteTime, delta)
}
