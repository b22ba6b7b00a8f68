package transport

import (
	"slices"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

const (
	// How long messages may wait for those of other groups.
	gatherFor = 3 * time.Millisecond
	// How long those may wait that tell only of commits, for what makes them
	// unnecessary: a group's next entry, at a hundred entries a second or more.
	gatherCommitsFor = 10 * time.Millisecond
	gatherMax        = 4096 // messages
)

// gathered are messages that nobody waits for, so that they may: for those of other
// groups, instead of a frame each. What waited goes ahead of what does not wait, so
// the order of messages stays. They are
//
//   - heartbeats and answers to them, but for those with a hint: these confirm a
//     leadership for a read;
//   - what tells a follower only that more is committed. A leader sends that after each
//     entry, and tells it again with the next: if that comes in time, one of the two
//     messages, and the answer to it, are saved. A follower that reads meanwhile
//     hears of it from the heartbeat that confirms the leadership.
type gathered struct {
	waiting raftpb.MessageBatch
	most    time.Duration // how long what waits may, since it began or since this became less
	flush   *time.Timer   // sends what waits
}

// hold keeps a batch if all of it may wait.
func (g *gathered) hold(batch raftpb.MessageBatch) bool {
	if len(g.waiting.Requests)+len(batch.Requests) > gatherMax {
		return false
	}
	most := gatherCommitsFor
	for i := range batch.Requests {
		switch m := &batch.Requests[i]; {
		case !patient(m):
			return false
		case !onlyCommits(m):
			most = gatherFor
		}
	}
	if len(g.waiting.Requests) == 0 || most < g.most {
		g.most = most
		g.flush.Reset(most)
	}
	waiting := append(dropTold(g.waiting.Requests, batch.Requests), batch.Requests...) // a copy: the slice is the caller's
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
	left := dropTold(waiting.Requests, batch.Requests)
	batch.Requests = slices.Concat(left, batch.Requests)
	return batch
}

func patient(m *raftpb.Message) bool {
	switch m.Type {
	case raftpb.Heartbeat, raftpb.HeartbeatResp:
		return m.Hint == 0 && m.HintHigh == 0
	default:
		return onlyCommits(m)
	}
}

func onlyCommits(m *raftpb.Message) bool { return m.Type == raftpb.Replicate && len(m.Entries) == 0 }

// dropTold removes what tells a follower of commits, if another message tells it that
// and more.
func dropTold(waiting, others []raftpb.Message) []raftpb.Message {
	return slices.DeleteFunc(waiting, func(m raftpb.Message) bool {
		return onlyCommits(&m) && slices.ContainsFunc(others, func(o raftpb.Message) bool {
			return o.Type == raftpb.Replicate && o.ShardID == m.ShardID && o.To == m.To && o.From == m.From && o.Term == m.Term &&
				o.LogIndex >= m.LogIndex && o.Commit >= m.Commit
		})
	})
}
