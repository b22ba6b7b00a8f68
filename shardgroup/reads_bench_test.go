package shardgroup_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/statemachine"
)

// BenchmarkReads measures linearizable reads of three replicas on loopback, with
// a read index round asked for each read and with rounds that reads share.
func BenchmarkReads(b *testing.B) {
	const group = clusterv1.DirectoryGroup + 1
	c := found(b, 3, 1, 50*time.Millisecond)
	leader, follower := c.leader(b, group)
	for _, at := range []struct {
		name string
		node int
	}{{"leader", leader}, {"follower", follower}} {
		for _, how := range []struct {
			name string
			read func(*shardgroup.Node, context.Context, uint64, statemachine.Query) (any, error)
		}{{"direct", (*shardgroup.Node).ReadDirectly}, {"shared", (*shardgroup.Node).Read}} {
			for _, readers := range []int{1, 64} {
				b.Run(fmt.Sprintf("%s/%s/readers=%d", at.name, how.name, readers), func(b *testing.B) {
					ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
					defer cancel()
					rounds := counterOf(b, c.metrics[at.node], "skerry_group_read_rounds_total", "2")
					var next atomic.Int64
					var all sync.WaitGroup
					for range readers {
						all.Go(func() {
							for next.Add(1) <= int64(b.N) {
								if _, err := how.read(c.node(at.node), ctx, group, statemachine.ReadStatus{}); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					all.Wait()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
					if how.name == "shared" {
						rounds = counterOf(b, c.metrics[at.node], "skerry_group_read_rounds_total", "2") - rounds
						b.ReportMetric(rounds/float64(b.N), "rounds/read")
					}
				})
			}
		}
	}
}
