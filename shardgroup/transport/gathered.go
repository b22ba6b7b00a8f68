package transport

import (
	"slices"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

const (
	// How long heartbeats, and the answers to them, may wait for those of other
	// groups. All groups of a node tick together, but a few workers come to them one
	// after the other: without a wait each has a frame of its own.
	gatherFor = 3 * time.Millisecond
	gatherMax = 4096 // messages
)

// gathered are heartbeats that wait. A heartbeat that confirms a leadership for a
// read has a hint and never waits, nor does anything else; what waited goes with
// it, ahead, so the order of messages stays.
type gathered struct {
	waiting raftpb.MessageBatch
	flush   *time.Timer // sends what waits
}

// hold keeps a batch if it may wait.
func (g *gathered) hold(batch raftpb.MessageBatch) bool {
	if len(g.waiting.Requests)+len(batch.Requests) > gatherMax {
		return false
	}
	for i := range batch.Requests {
		if !patient(&batch.Requests[i]) {
			return false
		}
	}
	if len(g.waiting.Requests) == 0 {
		g.flush.Reset(gatherFor)
	}
	waiting := append(g.waiting.Requests, batch.Requests...) // a copy: the slice is the caller's
	g.waiting, g.waiting.Requests = batch, waiting
	return true
}

// with returns what waits, followed by a batch. It is valid until the next hold.
func (g *gathered) with(batch raftpb.MessageBatch) raftpb.MessageBatch {
	waiting := g.waiting
	if len(waiting.Requests) == 0 {
		return batch
	}
	g.flush.Stop()
	g.waiting.Requests = waiting.Requests[:0]
	if len(batch.Requests) == 0 {
		return waiting
	}
	batch.Requests = slices.Concat(waiting.Requests, batch.Requests)
	return batch
}

func patient(m *raftpb.Message) bool {
	return (m.Type == raftpb.Heartbeat || m.Type == raftpb.HeartbeatResp) && m.Hint == 0 && m.HintHigh == 0
}
