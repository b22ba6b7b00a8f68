package statemachine_test

import (
	"fmt"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"google.golang.org/protobuf/proto"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Applying entries of real segments, by the number of blocks in an entry; the
// time is that of a block.
func BenchmarkApply(b *testing.B) {
	for _, blocks := range []int{1, 16, 80} {
		b.Run(fmt.Sprintf("blocks=%d", blocks), func(b *testing.B) {
			db := kvtest.Of(b, kvtest.Engine(b, kv.EngineOptions{Durability: kv.NoWAL}), group)
			machine := statemachine.NewData(db, statemachine.NewCache(64<<20))
			index := uint64(0)
			apply := func(commands ...*raftlogv1.Command) {
				encoded, err := (&raftlogv1.Entry{ProposedAt: index, Commands: commands}).MarshalVT()
				if err != nil {
					b.Fatal(err)
				}
				index++
				if _, err := machine.Update([]sm.Entry{{Index: index, Cmd: encoded}}); err != nil {
					b.Fatal(err)
				}
			}
			apply(initCommand())
			segment := realBlocks(b)[0]
			serial := uint64(0)
			var pending []*raftlogv1.Command
			b.ReportAllocs()
			for b.Loop() {
				block := proto.CloneOf(segment)
				serial++
				block.Id = fmt.Sprintf("%s%016d", segment.Id[:10], serial)
				if pending = append(pending, addCommand(block)); len(pending) == blocks {
					apply(pending...)
					pending = pending[:0]
				}
			}
		})
	}
}
