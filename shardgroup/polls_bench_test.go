package shardgroup_test

import (
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

var pollsQueued = flag.Int("polls.queued", 20_000, "blocks queued before BenchmarkPolls begins")

// BenchmarkPolls runs workers that take 8 jobs in each poll and report those of
// the poll before as done, each with one new block for 10, on one group with its
// Raft log synced to disk. One operation is one job.
func BenchmarkPolls(b *testing.B) {
	node, err := openReady(b.Context(), shardgroup.Options{
		Found:   true,
		DataDir: b.TempDir(), RaftAddress: freeAddress(b), Groups: 1, RTT: 20 * time.Millisecond,
	}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	defer node.Close()
	await(b, "the leader's claim", func() bool { return node.LeaderEpoch(dataGroup) > 0 })
	m := rangeMap(b, node)
	next := 0
	queue := func(blocks int) {
		from := next
		next += blocks
		var adding sync.WaitGroup
		for writer := range 256 {
			adding.Go(func() {
				for n := from + writer; n < from+blocks; n += 256 {
					if _, err := node.Service().AddBlock(b.Context(), addRequest(b, m, queuedBlock(n))); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		adding.Wait()
	}
	queue(*pollsQueued)
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("queued=%d/workers=%d", *pollsQueued, workers), func(b *testing.B) {
			// What is taken is added, so that as many wait in the end.
			queue(max(0, 10*(b.N+16*workers)+*pollsQueued-queuedBlocks(b, node)))
			polls := &atomic.Int64{}
			entries, bytes := applied(b, node), node.AppliedBytes(dataGroup)
			b.ResetTimer()
			completed := drain(b, node, workers, polls)
			b.StopTimer()
			b.ReportMetric(float64(polls.Load())/b.Elapsed().Seconds(), "polls/s")
			b.ReportMetric(float64(completed)/b.Elapsed().Seconds(), "jobs/s")
			b.ReportMetric(float64(applied(b, node)-entries)/float64(completed), "entries/job")
			b.ReportMetric(float64(node.AppliedBytes(dataGroup)-bytes)/float64(completed), "logbytes/job")
		})
	}
}

func queuedBlocks(b *testing.B, node *shardgroup.Node) int {
	blocks := 0
	for _, level := range compactionStatus(b, node).GetLevels() {
		if level.GetLevel() == 1 {
			blocks = int(level.GetBlocksQueued())
		}
	}
	return blocks
}

// drain has workers complete b.N jobs.
func drain(b *testing.B, node *shardgroup.Node, workers int, polls *atomic.Int64) int64 {
	var completed atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			var updates []*metastorev1.CompactionJobStatusUpdate
			idle := 0
			for completed.Load() < int64(b.N) {
				answer, err := node.Service().PollCompaction(b.Context(), pollRequest(8, updates...))
				if err != nil {
					b.Error(err)
					return
				}
				polls.Add(1)
				if idle++; len(answer.GetPoll().GetCompactionJobs()) > 0 {
					idle = 0
				} else if idle > 1000 {
					b.Error("nothing is due")
					return
				}
				completed.Add(int64(len(updates)))
				updates = updates[:0]
				for i, job := range answer.GetPoll().GetCompactionJobs() {
					updates = append(updates, success(answer.GetPoll().GetAssignments()[i], quickMerge(b, job)))
				}
			}
		})
	}
	all.Wait()
	return completed.Load()
}

// queuedBlock is one of so many tenants' that each has jobs to do.
func queuedBlock(n int) *metastorev1.BlockMeta {
	return testBlock(n, fmt.Sprintf("tenant-%d", n%max(1, *pollsQueued/100)), 1, 1)
}

// quickMerge makes a result without reading the sources.
func quickMerge(b *testing.B, job *metastorev1.CompactionJob) *metastorev1.CompactedBlocks {
	id, err := metastorev1.ParseID(job.GetSourceBlocks()[0])
	if err != nil {
		b.Fatal(err)
	}
	id[7]++ // not the source's
	block := makeBlock(id, job.GetTenant(), job.GetShard(), job.GetCompactionLevel()+1, []part{{job.GetTenant(), "cart", "merged", int64(id.Time())}})
	return &metastorev1.CompactedBlocks{
		SourceBlocks: &metastorev1.BlockList{Tenant: job.GetTenant(), Shard: job.GetShard(), Blocks: job.GetSourceBlocks()},
		NewBlocks:    []*metastorev1.BlockMeta{block},
	}
}
