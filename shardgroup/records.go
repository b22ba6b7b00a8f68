package shardgroup

import (
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"go.uber.org/zap"
)

// compactBytes is how much of a group's log is applied between two snapshot
// records. Dragonboat counts entries only, and an entry may be a megabyte. A
// record holds no data; making one costs a flush of the store, after which the
// log behind it can be removed.
const compactBytes = 256 << 20

// logCompactor asks for a snapshot record each time enough bytes were applied.
type logCompactor struct {
	request func() error
	log     *zap.Logger
	bytes   atomic.Int64
	running atomic.Bool
}

// applied must not wait: it is called while entries are applied.
func (c *logCompactor) applied(bytes int) {
	if c.bytes.Add(int64(bytes)) < compactBytes || !c.running.CompareAndSwap(false, true) {
		return
	}
	c.bytes.Store(0)
	go func() {
		defer c.running.Store(false)
		if err := c.request(); err != nil {
			c.log.Warn("compacting the Raft log failed, will try again after more writes", zap.Error(err))
		}
	}()
}

// requestSnapshot makes a snapshot record and lets the log behind it go.
func (g *Group) requestSnapshot() error {
	request, err := g.host.RequestSnapshot(g.id, dragonboat.SnapshotOption{
		OverrideCompactionOverhead: true, CompactionOverhead: compactionOverhead / 8,
	}, time.Minute)
	if err != nil {
		return err
	}
	defer request.Release()
	if outcome := <-request.ResultC(); !outcome.Completed() && !outcome.Rejected() && !outcome.Terminated() {
		return ErrAmbiguous
	}
	return nil
}
