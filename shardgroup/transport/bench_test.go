package transport

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/lni/dragonboat/v4/raftpb"
)

// BenchmarkSend measures messages from one transport to another over loopback, the
// decoding included: entries of one size, a message a frame; and heartbeats without
// a hint, which gather.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{256, 4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("entry=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			message := replicate(3, 2, 7, 0, size)
			sendMany(b, func(i int) raftpb.Message {
				message.LogIndex = uint64(i)
				message.Entries[0].Index = uint64(i) + 1
				return message
			})
		})
	}
	b.Run("heartbeats", func(b *testing.B) {
		sendMany(b, func(i int) raftpb.Message { return heartbeatFor(uint64(i), 0) })
	})
}

// sendMany sends b.N messages and waits until all have arrived.
func sendMany(b *testing.B, message func(int) raftpb.Message) {
	var arrived atomic.Int64
	from, to := startPeer(b, peerOptions{}), startPeer(b, peerOptions{})
	all := make(chan struct{})
	go func() {
		defer close(all)
		for arrived.Load() < int64(b.N) {
			select {
			case batch := <-to.batches:
				arrived.Add(int64(len(batch.Requests)))
			case <-b.Context().Done():
				return
			}
		}
	}()
	conn, err := from.GetConnection(b.Context(), to.address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := conn.SendMessageBatch(gather(message(i))); err != nil {
			b.Fatal(err)
		}
	}
	<-all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/from.value(b, "sent_frames_total"), "messages/frame")
}
