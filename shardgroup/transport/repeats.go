package transport

import (
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

const (
	// Entries of a message that is not worth sending twice.
	repeatBytesMin = 256 << 10
	// A message of that many bytes more may take another second until it is answered.
	repeatBytesPerSecond = 16 << 20
	// Replicas that are remembered, of one connection.
	repeatsMax = 256
)

// repeats knows the large messages that a connection carried lately. A leader
// repeats what a replica lacks with each heartbeat that it answers, until it has
// it: tens of megabytes over and over while the first are on their way. Raft
// tolerates loss and asks again, so repeats are dropped for a while; if the first
// message was lost with its connection, what is known of it is lost too.
//
// It belongs to the goroutine that sends.
type repeats struct {
	within time.Duration // after the end of sending; 0 lets all pass
	last   map[replica]largeMessage
}

// replica is where a message goes.
type replica struct{ shard, replica uint64 }

// largeMessage is one that takes its replica on from an entry.
type largeMessage struct {
	term, after uint64
	until       time.Time
}

// take returns the messages of a batch that are to be sent, and how many are not.
// What it returns counts as sent from now on: sent or lost must follow.
func (r *repeats) take(messages []raftpb.Message, now time.Time) ([]raftpb.Message, int) {
	dropped := 0
	kept := messages
	for i, message := range messages {
		switch {
		case r.repeated(message, now):
			if dropped == 0 { // the caller goes on with its slice
				kept = append(make([]raftpb.Message, 0, len(messages)), messages[:i]...)
			}
			dropped++
			continue
		case dropped > 0:
			kept = append(kept, message)
		}
		r.note(message, now)
	}
	return kept, dropped
}

// sent starts the time of what was taken: it was written just now.
func (r *repeats) sent(messages []raftpb.Message, now time.Time) {
	for _, message := range messages {
		r.note(message, now)
	}
}

// lost tells that what was taken did not arrive.
func (r *repeats) lost() { clear(r.last) }

func (r *repeats) repeated(message raftpb.Message, now time.Time) bool {
	if message.Type != raftpb.Replicate || len(r.last) == 0 {
		return false
	}
	last, ok := r.last[replica{message.ShardID, message.To}]
	return ok && last.term == message.Term && last.after == message.LogIndex && now.Before(last.until) && entryBytes(message) > repeatBytesMin
}

func (r *repeats) note(message raftpb.Message, now time.Time) {
	if r.within == 0 || message.Type != raftpb.Replicate {
		return
	}
	bytes := entryBytes(message)
	if bytes <= repeatBytesMin {
		return
	}
	to := replica{message.ShardID, message.To}
	if _, known := r.last[to]; !known && len(r.last) >= repeatsMax {
		r.forget(now)
	}
	if r.last == nil {
		r.last = map[replica]largeMessage{}
	}
	patience := r.within + time.Duration(bytes)*time.Second/repeatBytesPerSecond
	r.last[to] = largeMessage{term: message.Term, after: message.LogIndex, until: now.Add(patience)}
}

// forget makes room: what is over goes first, and if that is not enough, all.
func (r *repeats) forget(now time.Time) {
	for to, message := range r.last {
		if !now.Before(message.until) {
			delete(r.last, to)
		}
	}
	if len(r.last) >= repeatsMax {
		clear(r.last)
	}
}

func entryBytes(message raftpb.Message) int {
	bytes := 0
	for i := range message.Entries {
		bytes += len(message.Entries[i].Cmd)
	}
	return bytes
}
