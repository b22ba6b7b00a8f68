package router

import (
	"context"
	"sync"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// Times that slots are offered in one poll. What one group leaves goes on to
	// the next; and a group creates jobs in one call and assigns them in another.
	offerRounds = 6
	// Offers to one group in one poll.
	offersEach = 3
	// Groups whose backlog one poll asks for.
	probesMax = 32
	// A group that does not answer must not eat up the poll's time.
	offerTimeout = 2 * time.Second
	probeTimeout = 500 * time.Millisecond
)

// offer fills slots with jobs, the most urgent first. It never fails: what was
// obtained is the worker's.
func (p *poll) offer(ctx context.Context, slots int) {
	source, known := p.router.source, p.router.backlogs
	m := source.Map()
	if slots <= 0 || m == nil {
		return
	}
	known.follow(m)
	calls := make(chan struct{}, p.router.options.FanOut)
	p.probe(ctx, calls)
	asked := map[uint64]int{}
	for round := 0; round < offerRounds && slots > 0 && ctx.Err() == nil; round++ {
		claims := known.claim(slots, asked, round == 0)
		if len(claims) == 0 {
			return
		}
		taken := make([]int, len(claims))
		var all sync.WaitGroup
		for i, c := range claims {
			asked[c.group]++
			all.Go(func() { taken[i] = p.offerGroup(ctx, calls, c) })
		}
		all.Wait()
		for _, n := range taken {
			slots -= n
		}
	}
}

// offerGroup offers slots to one group and returns how many it took.
func (p *poll) offerGroup(ctx context.Context, calls chan struct{}, c claim) (taken int) {
	f, known := p.router.fanout, p.router.backlogs
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	var answer *nodev1.PollCompactionResponse
	err := f.group(ctx, offerCall, c.group, calls, untouched, func(ctx context.Context, node nodev1.NodeServiceClient, _ part) (_ take, err error) {
		answer, err = node.PollCompaction(ctx, &nodev1.PollCompactionRequest{
			GroupId: c.group, Poll: &metastorev1.PollCompactionJobsRequest{JobCapacity: uint32(c.slots)},
		})
		return nil, err
	})
	if err != nil {
		known.failed(c)
		p.missed(err, "offer")
		f.metrics.offers.WithLabelValues("failed").Inc()
		return 0
	}
	taken = p.take(c.group, c.slots, answer.GetPoll())
	if known.offered(c, taken, answer.GetBacklog()) {
		f.metrics.offers.WithLabelValues("taken").Inc()
	} else {
		f.metrics.offers.WithLabelValues("empty").Inc()
	}
	return taken
}

// probe asks groups that were not heard of for long what waits in them. It costs
// no slot.
func (p *poll) probe(ctx context.Context, calls chan struct{}) {
	f, known := p.router.fanout, p.router.backlogs
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, group := range known.stale(probesMax) {
		all.Go(func() {
			var answer *nodev1.PollCompactionResponse
			err := f.group(ctx, probeCall, group, calls, always, func(ctx context.Context, node nodev1.NodeServiceClient, _ part) (_ take, err error) {
				answer, err = node.PollCompaction(ctx, &nodev1.PollCompactionRequest{
					GroupId: group, ReportsOnly: true, Poll: &metastorev1.PollCompactionJobsRequest{},
				})
				return nil, err
			})
			if err != nil {
				known.failed(claim{group: group})
				p.missed(err, "probe")
				return
			}
			known.learn(group, answer.GetBacklog())
			p.mu.Lock()
			defer p.mu.Unlock()
			p.heard++
		})
	}
	all.Wait()
}

func (p *poll) missed(err error, phase string) {
	p.router.fanout.metrics.unreachable.WithLabelValues(phase).Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.miss(err)
}

// untouched allows another replica only if the first surely did nothing: a
// repeated offer assigns jobs twice, and those of the lost answer wait for the
// end of their leases.
func untouched(err error) bool {
	return routeError(asStatus(err)).GetReason() == clusterv1.RouteError_REASON_NOT_READY
}

func always(error) bool { return true }
