package transport

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftpb"
)

func replicate(shard, to, term, after uint64, size int) raftpb.Message {
	return raftpb.Message{
		Type: raftpb.Replicate, ShardID: shard, To: to, From: 1, Term: term, LogIndex: after,
		Entries: []raftpb.Entry{{Index: after + 1, Term: term, Cmd: make([]byte, size)}},
	}
}

func TestRepeats(t *testing.T) {
	const large = 2 * repeatBytesMin
	begin := time.Unix(1000, 0)
	first := replicate(3, 2, 7, 100, large)
	for name, test := range map[string]struct {
		next    raftpb.Message
		after   time.Duration
		dropped bool
	}{
		"at once":              {first, 0, true},
		"within a second":      {first, 999 * time.Millisecond, true},
		"too late":             {first, 1100 * time.Millisecond, false},
		"of another group":     {replicate(4, 2, 7, 100, large), 0, false},
		"to another replica":   {replicate(3, 4, 7, 100, large), 0, false},
		"of another term":      {replicate(3, 2, 8, 100, large), 0, false},
		"from another entry":   {replicate(3, 2, 7, 101, large), 0, false},
		"small":                {replicate(3, 2, 7, 100, repeatBytesMin), 0, false},
		"with more behind it":  {replicate(3, 2, 7, 100, large+1), 0, true},
		"no entries, the same": {raftpb.Message{Type: raftpb.Heartbeat, ShardID: 3, To: 2, Term: 7, LogIndex: 100}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := repeats{within: time.Second}
			kept, dropped := r.take([]raftpb.Message{first}, begin.Add(-time.Minute))
			if len(kept) != 1 || dropped != 0 {
				t.Fatal("the first is no repeat")
			}
			r.sent(kept, begin) // it took a minute to write
			kept, dropped = r.take([]raftpb.Message{test.next}, begin.Add(test.after))
			if (dropped == 1) != test.dropped || len(kept)+dropped != 1 {
				t.Errorf("%d dropped, %d kept", dropped, len(kept))
			}
		})
	}
}

// Large messages have more time, and small ones and others around repeats pass.
func TestRepeatsInABatch(t *testing.T) {
	begin := time.Unix(1000, 0)
	r := repeats{within: time.Second}
	huge := replicate(3, 2, 7, 100, 2*repeatBytesPerSecond)
	heartbeat := raftpb.Message{Type: raftpb.Heartbeat, ShardID: 3, To: 2, Term: 7}
	batch := []raftpb.Message{heartbeat, huge, heartbeat, huge, huge, replicate(3, 2, 7, 200, 10)}
	kept, dropped := r.take(batch, begin)
	if dropped != 2 || len(kept) != 4 || kept[1].LogIndex != 100 || kept[3].LogIndex != 200 {
		t.Errorf("%d dropped, %d kept", dropped, len(kept))
	}
	if len(batch[3].Entries) == 0 || batch[5].LogIndex != 200 {
		t.Error("the batch was changed: it belongs to dragonboat")
	}
	r.sent(kept, begin)
	for after, want := range map[time.Duration]int{2900 * time.Millisecond: 1, 3100 * time.Millisecond: 0} {
		again := repeats{within: r.within, last: map[replica]largeMessage{{3, 2}: r.last[replica{3, 2}]}}
		if _, dropped := again.take([]raftpb.Message{huge}, begin.Add(after)); dropped != want {
			t.Errorf("after %s %d are dropped, want %d", after, dropped, want)
		}
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	r := repeats{within: time.Second}
	for i := range uint64(3 * repeatsMax) {
		r.take([]raftpb.Message{replicate(i, 2, 7, 100, 2*repeatBytesMin)}, time.Unix(1000, int64(i)))
		if len(r.last) > repeatsMax {
			t.Fatalf("%d are remembered", len(r.last))
		}
	}
	r = repeats{}
	r.take([]raftpb.Message{replicate(3, 2, 7, 100, 2*repeatBytesMin)}, time.Unix(1000, 0))
	if len(r.last) > 0 {
		t.Error("switched off, it remembers")
	}
}

// A message that a fault swallowed, or that went with its connection, may be sent
// again at once.
func TestRepeatOfWhatWasLost(t *testing.T) {
	faults := &faults{}
	from, to := startPeer(t, peerOptions{Options: Options{Fault: faults}}), startPeer(t, peerOptions{})
	batch := raftpb.MessageBatch{DeploymentId: deployment, Requests: []raftpb.Message{replicate(3, 2, 7, 100, 2*repeatBytesMin)}}
	connect := func() func(want int) {
		conn, err := from.GetConnection(t.Context(), to.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		return func(want int) {
			t.Helper()
			if err := conn.SendMessageBatch(batch); err != nil {
				t.Fatal(err)
			}
			if got := len(to.batches); want == 0 && got > 0 {
				t.Fatal("the repeat was sent")
			}
			if want > 0 {
				eventually(t, "the message", func() bool { return len(to.batches) == want })
				<-to.batches
			}
		}
	}
	send := connect()
	faults.set(func(_ context.Context, _ string, traffic Traffic) error {
		if traffic == Messages {
			return ErrDrop
		}
		return nil
	})
	send(0)
	faults.set(nil)
	send(1)
	send(0)
	if got := from.value(t, "repeats_dropped_total"); got != 1 {
		t.Errorf("%v repeats were dropped, want 1", got)
	}
	connect()(1)
}

// TestCatchUpIsSentOnce: a replica that was away gets what it lacks about once,
// however many heartbeats it answers meanwhile.
func TestCatchUpIsSentOnce(t *testing.T) {
	const entries, size = 24, 512 << 10
	for name, test := range map[string]struct {
		within   time.Duration
		min, max float64 // times what was missing
	}{
		// So long that a slow machine makes no difference; nothing is lost here.
		"repeats dropped": {time.Hour, 1, 1.2},
		"switched off":    {-1, 2, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			members, start := prepareMembers(t, 3, func(uint64) Options { return Options{} }, timeouts{repeat: test.within})
			for _, m := range members {
				m.change = func(c *config.Config) {
					c.SnapshotEntries, c.PreVote, c.ElectionRTT = 0, true, 100 // one leader, and the log that it has
				}
			}
			start()
			members[0].propose(t, []byte("before"))
			late := members[2]
			eventually(t, "the others to lead", func() bool {
				id, _, known, err := late.GetLeaderID(group)
				if err == nil && known && id == late.id {
					_ = late.RequestLeaderTransfer(group, 1)
				}
				return err == nil && known && id != late.id && late.has("before")
			})
			// What is sent while it is away is lost on its way.
			toLate := func(then func(ctx context.Context) error) {
				for _, m := range members[:2] {
					m.faults.set(func(ctx context.Context, target string, traffic Traffic) error {
						if target == late.address && traffic == Messages {
							return then(ctx)
						}
						return nil
					})
				}
			}
			toLate(func(context.Context) error { return ErrDrop })
			if err := late.StopShard(group); err != nil {
				t.Fatal(err)
			}
			command := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			for range entries {
				members[0].propose(t, command)
			}
			want := members[0].count(t)
			late.start(t, nil, false)
			eventually(t, "the replica to work", func() bool {
				_, _, _, err := late.GetLeaderID(group)
				return err == nil
			})
			// A leader of another term knows nothing of what the one before it sent.
			term := func() uint64 {
				_, term, _, err := late.GetLeaderID(group)
				if err != nil {
					t.Fatal(err)
				}
				return term
			}
			before, first := late.peer.value(t, "received_bytes_total", "messages"), term()
			// Heartbeats wait and arrive together: each answer asks for all.
			toLate(func(ctx context.Context) error {
				select {
				case <-time.After(250 * time.Millisecond):
				case <-ctx.Done():
				}
				return nil
			})
			eventually(t, "the replica to catch up", func() bool { return late.count(t) >= want })
			eventually(t, "what was sent to arrive", func() bool {
				got := (late.peer.value(t, "received_bytes_total", "messages") - before) / (entries * size)
				if limit := test.max * float64(1+term()-first); got > limit {
					t.Fatalf("%.2f times what was missing was sent, want at most %.1f", got, limit)
				}
				return got >= test.min
			})
			dropped := members[0].peer.value(t, "repeats_dropped_total") + members[1].peer.value(t, "repeats_dropped_total")
			if dropped > 0 && test.within < 0 {
				t.Errorf("%v repeats were dropped", dropped)
			}
		})
	}
}
