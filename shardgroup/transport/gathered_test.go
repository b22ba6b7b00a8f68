package transport

import (
	"slices"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"
)

func heartbeatFor(shard, hint uint64) raftpb.Message {
	return raftpb.Message{Type: raftpb.Heartbeat, ShardID: shard, To: 2, From: 1, Term: 7, Hint: hint}
}

func gather(messages ...raftpb.Message) raftpb.MessageBatch {
	return raftpb.MessageBatch{DeploymentId: deployment, Requests: messages}
}

func shardsOf(batch raftpb.MessageBatch) []uint64 {
	var shards []uint64
	for _, m := range batch.Requests {
		shards = append(shards, m.ShardID)
	}
	return shards
}

func newGathered(t *testing.T) *gathered {
	g := &gathered{flush: time.NewTimer(time.Hour)}
	t.Cleanup(func() { g.flush.Stop() })
	return g
}

func committed(shard, term, index, commit uint64) raftpb.Message {
	return raftpb.Message{Type: raftpb.Replicate, ShardID: shard, To: 2, From: 1, Term: term, LogIndex: index, LogTerm: term, Commit: commit}
}

// TestWhoWaits: nothing that writes or reads wait for.
func TestWhoWaits(t *testing.T) {
	answer := heartbeatFor(3, 0)
	answer.Type = raftpb.HeartbeatResp
	confirms := heartbeatFor(3, 1)
	confirms.Type = raftpb.HeartbeatResp
	high := heartbeatFor(3, 0)
	high.HintHigh = 1
	for name, test := range map[string]struct {
		batch raftpb.MessageBatch
		waits bool
	}{
		"heartbeat":                 {gather(heartbeatFor(3, 0)), true},
		"answer":                    {gather(answer), true},
		"several":                   {gather(heartbeatFor(3, 0), answer), true},
		"confirms a read":           {gather(heartbeatFor(3, 9)), false},
		"confirms one, high bits":   {gather(high), false},
		"answer that confirms":      {gather(confirms), false},
		"commits":                   {gather(committed(3, 7, 100, 99)), true},
		"entries":                   {gather(replicate(3, 2, 7, 100, 1)), false},
		"heartbeats with an entry":  {gather(heartbeatFor(3, 0), replicate(3, 2, 7, 100, 1)), false},
		"question of a candidate":   {gather(raftpb.Message{Type: raftpb.RequestVote, ShardID: 3}), false},
		"transfer of a leadership":  {gather(raftpb.Message{Type: raftpb.TimeoutNow, ShardID: 3}), false},
		"what a follower has saved": {gather(raftpb.Message{Type: raftpb.ReplicateResp, ShardID: 3}), false},
	} {
		if got := newGathered(t).hold(test.batch); got != test.waits {
			t.Errorf("%s: waits %v", name, got)
		}
	}
}

// TestGatheredKeepsTheOrder: what waited goes first, once, and is nobody else's memory.
func TestGatheredKeepsTheOrder(t *testing.T) {
	g := newGathered(t)
	theirs := gather(heartbeatFor(1, 0), heartbeatFor(2, 0))
	g.hold(theirs)
	theirs.Requests[0].ShardID = 99 // they use it again
	g.hold(gather(heartbeatFor(3, 0)))
	sent := g.with(gather(replicate(4, 2, 7, 100, 1)))
	if got := shardsOf(sent); !slices.Equal(got, []uint64{1, 2, 3, 4}) || sent.DeploymentId != deployment {
		t.Errorf("sent %v", got)
	}
	if again := g.with(raftpb.MessageBatch{}); len(again.Requests) != 0 {
		t.Errorf("sent again: %v", shardsOf(again))
	}
	g.hold(gather(heartbeatFor(5, 0)))
	if got := g.with(raftpb.MessageBatch{}); !slices.Equal(shardsOf(got), []uint64{5}) || got.DeploymentId != deployment {
		t.Errorf("sent %+v", got)
	}
}

// TestCommitsAreToldOnce: by what is sent anyway, but only if that tells as much, to the
// same replica.
func TestCommitsAreToldOnce(t *testing.T) {
	entries := func(change func(*raftpb.Message)) raftpb.Message {
		m := committed(3, 7, 100, 100)
		m.Entries = []raftpb.Entry{{Index: 101, Term: 7}}
		if change != nil {
			change(&m)
		}
		return m
	}
	for name, test := range map[string]struct {
		next raftpb.Message
		told bool
	}{
		"entries":                {entries(nil), true},
		"commits":                {committed(3, 7, 101, 101), true},
		"entries of an older":    {entries(func(m *raftpb.Message) { m.LogIndex = 99 }), false},
		"less committed":         {entries(func(m *raftpb.Message) { m.Commit = 99 }), false},
		"another term":           {entries(func(m *raftpb.Message) { m.Term = 8 }), false},
		"another group":          {entries(func(m *raftpb.Message) { m.ShardID = 4 }), false},
		"another replica":        {entries(func(m *raftpb.Message) { m.To = 3 }), false},
		"another kind":           {entries(func(m *raftpb.Message) { m.Type = raftpb.ReplicateResp }), false},
		"heartbeat with a hint":  {heartbeatFor(3, 5), false},
		"heartbeat without hint": {heartbeatFor(3, 0), false},
	} {
		g := newGathered(t)
		g.hold(gather(heartbeatFor(1, 0), committed(3, 7, 100, 100)))
		var sent raftpb.MessageBatch
		if g.hold(gather(test.next)) {
			sent = g.with(raftpb.MessageBatch{})
		} else {
			sent = g.with(gather(test.next))
		}
		want := 3
		if test.told {
			want = 2
		}
		if n := len(sent.Requests); n != want || sent.Requests[0].Type != raftpb.Heartbeat || sent.Requests[n-1].Type != test.next.Type {
			t.Errorf("%s: sent %+v", name, sent.Requests)
		}
	}
}

func TestGatheredIsBounded(t *testing.T) {
	g := newGathered(t)
	for range gatherMax {
		if !g.hold(gather(heartbeatFor(1, 0))) {
			t.Fatal("it does not wait")
		}
	}
	if g.hold(gather(heartbeatFor(1, 0))) {
		t.Error("one more than may waits")
	}
}

// TestHeartbeatsArriveTogether over a connection, without anything else to send.
func TestHeartbeatsArriveTogether(t *testing.T) {
	from, to := startPeer(t, peerOptions{}), startPeer(t, peerOptions{})
	conn, err := from.GetConnection(t.Context(), to.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	link := conn.(*peerConnection).link
	link.sending.Lock() // the time to gather begins, but cannot end
	for shard := range uint64(3) {
		if !link.gathered.hold(gather(heartbeatFor(shard, 0))) {
			t.Fatal("it does not wait")
		}
	}
	link.sending.Unlock()
	eventually(t, "the heartbeats", func() bool { return len(to.batches) > 0 })
	if got := shardsOf(<-to.batches); !slices.Equal(got, []uint64{0, 1, 2}) {
		t.Errorf("the first batch has %v", got)
	}
	if err := conn.SendMessageBatch(gather(heartbeatFor(4, 0))); err != nil {
		t.Fatal(err)
	}
	if err := conn.SendMessageBatch(gather(heartbeatFor(5, 6))); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	eventually(t, "the rest", func() bool {
		select {
		case batch := <-to.batches:
			got = append(got, shardsOf(batch)...)
		default:
		}
		return len(got) == 2
	})
	if !slices.Equal(got, []uint64{4, 5}) {
		t.Errorf("got %v", got)
	}
	to.Close()
	eventually(t, "an error of what cannot be sent", func() bool { return conn.SendMessageBatch(gather(heartbeatFor(4, 0))) != nil })
}

// TestCommitsWaitLonger, but do not make heartbeats wait.
func TestCommitsWaitLonger(t *testing.T) {
	g := newGathered(t)
	for _, step := range []struct {
		held raftpb.Message
		most time.Duration
	}{
		{committed(3, 7, 100, 99), gatherCommitsFor},
		{committed(4, 7, 100, 99), gatherCommitsFor},
		{heartbeatFor(5, 0), gatherFor},
		{committed(6, 7, 100, 99), gatherFor},
	} {
		if g.hold(gather(step.held)); g.most != step.most {
			t.Errorf("what waits may do so for %s, want %s", g.most, step.most)
		}
	}
	g.with(raftpb.MessageBatch{})
	if g.hold(gather(committed(3, 7, 101, 100))); g.most != gatherCommitsFor {
		t.Errorf("what waits next may do so for %s", g.most)
	}
}
