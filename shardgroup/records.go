package shardgroup

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/shardgroup/disk"
)

// A snapshot record says up to where the store has written out what a group applied:
// a start reads the log from there on. It holds no data, and costs a flush of the store,
// which all groups share. So records are made in rounds, of all groups that applied
// enough, and what a start reads is bounded however many groups there are.
const (
	// Work that the node's groups apply from one round to the next, in bytes of entries.
	// An entry is as much work as that many more bytes, whatever is in it.
	defaultRecordWork = 64 << 20
	entryWork         = 4 << 10
	// A group that applied less than this part of it since its record waits for a later
	// round.
	recordPart = 64
	// Rounds whose entries a group's log keeps for followers that were away: they get
	// older ones as a snapshot of all data.
	roundsKept = 4
	// How long a record may take, and all of them at a stop.
	recordTimeout     = time.Minute
	lastRecordTimeout = 5 * time.Second
)

// records decides when the node makes a round.
type records struct {
	every int64
	// Applied since the last round.
	work atomic.Int64
	due  chan struct{}
}

func newRecords(every int64) *records {
	return &records{every: every, due: make(chan struct{}, 1)}
}

// workOf is what it takes to read and apply entries.
func workOf(entries, bytes int) int64 { return int64(entries)*entryWork + int64(bytes) }

// applied must not wait: it is called while entries are applied.
func (r *records) applied(work int64) {
	if r.work.Add(work) >= r.every {
		wake(r.due)
	}
}

// lastRecords is what a group knows of its records.
type lastRecords struct {
	// Applied since the last one.
	work atomic.Int64
	// Of one round at a time: where the last rounds' records stand, the newest last.
	indexes []uint64
}

// keepRecords makes rounds until the node closes, when the one that it is at gets a little
// time to end.
func (n *Node) keepRecords(life context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(life))
	defer cancel()
	context.AfterFunc(life, func() { time.AfterFunc(lastRecordTimeout, cancel) })
	for {
		select {
		case <-life.Done():
			return
		case <-n.records.due:
			n.recordRound(ctx)
		}
	}
}

// recordRound makes one round.
func (n *Node) recordRound(ctx context.Context) {
	n.records.work.Store(0)
	var making sync.WaitGroup
	for _, g := range n.all() {
		work := g.records.work.Load()
		if work < n.records.every/recordPart {
			continue
		}
		making.Go(func() {
			if err := g.record(ctx); err != nil {
				n.log.Warn("a snapshot record was not made: it will be tried again after more writes, and a start reads more of the log until then",
					zap.Uint64("group", g.id), zap.Error(err))
				return
			}
			g.records.work.Add(-work)
		})
	}
	making.Wait()
}

// recordLast makes a round before a stop, so that the next start reads nothing of the
// log twice. It is not for a disk that does not write.
func (n *Node) recordLast() {
	if n.disk == nil {
		return
	}
	if state, level := n.disk.Worst(); state >= disk.Stalled || level >= disk.Full {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastRecordTimeout)
	defer cancel()
	n.recordRound(ctx)
}

// record makes a record, and lets the log go that is older than the last rounds.
func (g *Group) record(ctx context.Context) error {
	option := dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionOverhead: math.MaxUint64} // keeps all
	if known := g.records.indexes; len(known) >= roundsKept {
		option.CompactionIndex, option.CompactionOverhead = known[len(known)-roundsKept], 0
	}
	index, err := g.requestRecord(ctx, option)
	if err != nil || index == 0 {
		return err
	}
	g.records.indexes = append(g.records.indexes, index)
	if extra := len(g.records.indexes) - roundsKept; extra > 0 {
		g.records.indexes = g.records.indexes[extra:]
	}
	return nil
}

// requestRecord returns where the record stands, 0 if there is nothing to record.
func (g *Group) requestRecord(ctx context.Context, option dragonboat.SnapshotOption) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	request, err := g.host.RequestSnapshot(g.id, option, recordTimeout)
	if errors.Is(err, dragonboat.ErrShardNotFound) || errors.Is(err, dragonboat.ErrShardNotReady) {
		return 0, nil // the replica stops, or has not begun
	}
	if err != nil {
		return 0, err
	}
	defer request.Release()
	select {
	case outcome := <-request.ResultC():
		switch {
		case outcome.Completed():
			return outcome.SnapshotIndex(), nil
		case outcome.Rejected(), outcome.Terminated():
			return 0, nil
		}
		return 0, ErrAmbiguous
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
