package transport

import (
	"testing"

	"github.com/lni/dragonboat/v4/raftpb"
)

// TestConnectsAgain: the first message after the other side was restarted arrives.
func TestConnectsAgain(t *testing.T) {
	from, to := startPeer(t, peerOptions{}), startPeer(t, peerOptions{})
	conn, err := from.GetConnection(t.Context(), to.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	vote := gather(raftpb.Message{Type: raftpb.RequestVote, ShardID: 3, To: 2, From: 1, Term: 7})
	if err := conn.SendMessageBatch(vote); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first message", func() bool { return len(to.batches) == 1 })
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	<-conn.(*peerConnection).link.done
	again := startPeer(t, peerOptions{Options: Options{ListenAddress: to.address}})
	if err := conn.SendMessageBatch(vote); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the message after the restart", func() bool { return len(again.batches) == 1 })
	if got := from.value(t, "reconnects_total"); got != 1 {
		t.Errorf("connected again %v times, want once", got)
	}
}

// Nobody answers any more: dragonboat is told, and does not wait long.
func TestDoesNotConnectToTheDead(t *testing.T) {
	from, to := startPeer(t, peerOptions{}), startPeer(t, peerOptions{})
	conn, err := from.GetConnection(t.Context(), to.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	<-conn.(*peerConnection).link.done
	for range 2 { // and again: the connection may be used after an error
		if err := conn.SendMessageBatch(gather(heartbeatFor(3, 9))); err == nil {
			t.Error("sent to nobody")
		}
	}
	if got := from.value(t, "reconnects_total"); got != 0 {
		t.Errorf("connected again %v times", got)
	}
}
