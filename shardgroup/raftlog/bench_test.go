package raftlog

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// What a save takes with its sync to disk, by the groups that have something new and
// the bytes of each's entry: a block has some 1.6 KB, a batch of them up to a thousand
// times that.
func BenchmarkSave(b *testing.B) {
	for _, groups := range []int{1, 16} {
		for _, bytes := range []int{1_600, 100_000} {
			b.Run(fmt.Sprintf("groups=%d/bytes=%d", groups, bytes), func(b *testing.B) {
				l, err := open(vfs.Default, b.TempDir(), 0, zap.NewNop(), prometheus.NewRegistry())
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				entry := make([]byte, bytes)
				for i := range entry {
					entry[i] = byte(i * i >> 3)
				}
				updates := make([]raftpb.Update, groups)
				b.SetBytes(int64(groups * bytes))
				b.ReportAllocs()
				index := uint64(0)
				for b.Loop() {
					index++
					for g := range updates {
						updates[g] = raftpb.Update{ShardID: uint64(2 + g), ReplicaID: 1, State: raftpb.State{Term: 1, Vote: 1, Commit: index - 1},
							EntriesToSave: []raftpb.Entry{{Term: 1, Index: index, Cmd: entry}}}
					}
					if err := l.SaveRaftState(updates, 1); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
