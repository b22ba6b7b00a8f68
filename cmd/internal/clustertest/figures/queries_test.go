package figures

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// queriers ask for data of tenants.
type queriers struct {
	conns []*grpc.ClientConn
	// Between two queries of each.
	pace     time.Duration
	failures failures
}

// answers are what queries got.
type answers struct {
	times  []time.Duration // sorted
	blocks int
	asked  [][]*metastorev1.QueryMetadataRequest // by querier
}

// ask lets queriers ask what next returns to each, until it returns nil.
func (q *queriers) ask(ctx context.Context, count int, next func(querier int, random *rand.Rand) *metastorev1.QueryMetadataRequest) answers {
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		all     = answers{asked: make([][]*metastorev1.QueryMetadataRequest, count)}
	)
	for i := range count {
		client := metastorev1.NewMetadataQueryServiceClient(q.conns[i%len(q.conns)])
		random := rand.New(rand.NewPCG(1, uint64(i)))
		running.Go(func() {
			var times []time.Duration
			blocks := 0
			for ctx.Err() == nil {
				request := next(i, random)
				if request == nil {
					break
				}
				all.asked[i] = append(all.asked[i], request)
				limited, cancel := context.WithTimeout(ctx, addPatience)
				began := time.Now()
				answer, err := client.QueryMetadata(limited, request)
				took := time.Since(began)
				cancel()
				switch {
				case err == nil:
					times, blocks = append(times, took), blocks+len(answer.GetBlocks())
				case ctx.Err() == nil:
					q.failures.count(status.Code(err))
				}
				select {
				case <-time.After(q.pace):
				case <-ctx.Done():
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.times, all.blocks = append(all.times, times...), all.blocks+blocks
		})
	}
	running.Wait()
	slices.Sort(all.times)
	return all
}

// again asks what was asked before.
func (q *queriers) again(t *testing.T, before answers) answers {
	t.Helper()
	places := make([]int, len(before.asked))
	return q.ask(t.Context(), len(before.asked), func(i int, _ *rand.Rand) *metastorev1.QueryMetadataRequest {
		if places[i] == len(before.asked[i]) {
			return nil
		}
		places[i]++
		return before.asked[i][places[i]-1]
	})
}
