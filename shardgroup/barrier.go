package shardgroup

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
)

// barrier lets reads that come at the same time share read index rounds. One
// round runs at a time; what arrives meanwhile waits for the next one:
//
//	reads     a     b c d        e
//	rounds    |──1──|──2─────────|──3──|      a: 1   b, c, d: 2   e: 3
//	                ▲ begins after b, c and d came
//
// A read may only join a round that begins after it came: a round that runs
// may have asked for the commit index before a write that the reader knows of.
type barrier struct {
	// ask runs a round for a number of reads. It returns a request that is ready
	// for local reads.
	ask func(reads int) (*dragonboat.RequestState, error)

	mu      sync.Mutex
	running bool
	closed  bool
	next    *round // has not begun; nil if nobody waits
	done    sync.WaitGroup
}

// round is one confirmation of the leader, for any number of reads.
type round struct {
	reads int // that joined; under the barrier's lock until it begins
	ended chan struct{}
	// Set before ended is closed. The request is left to the garbage collector:
	// readers use it at different times.
	request *dragonboat.RequestState
	err     error
}

// wait returns when a round has ended that began after the call.
func (b *barrier) wait(ctx context.Context) (*dragonboat.RequestState, error) {
	r := b.join()
	select {
	case <-r.ended:
		return r.request, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *barrier) join() *round {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		ended := make(chan struct{})
		close(ended)
		return &round{ended: ended, err: fmt.Errorf("%w: it is shutting down", ErrNotReady)}
	}
	if b.next == nil {
		b.next = &round{ended: make(chan struct{})}
		if !b.running {
			b.running = true
			b.done.Add(1)
			go b.run()
		}
	}
	b.next.reads++
	return b.next
}

// run runs rounds until nobody waits.
func (b *barrier) run() {
	defer b.done.Done()
	for {
		r := b.begin()
		if r == nil {
			return
		}
		r.request, r.err = b.ask(r.reads)
		close(r.ended)
	}
}

// begin takes the next round: from now on nobody may join it.
func (b *barrier) begin() *round {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.next
	b.next = nil
	b.running = r != nil
	return r
}

// close refuses new reads. Those that wait still get their round.
func (b *barrier) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// settle waits until no round runs, after close. The replica must be stopped:
// then rounds fail at once.
func (b *barrier) settle() { b.done.Wait() }

// readIndexTimeout bounds a round. It exceeds an election: a lost round costs
// its reads that long, and then they are better off on another replica.
func readIndexTimeout(rtt time.Duration) time.Duration { return max(time.Second, 40*rtt) }

// readIndex runs a read index round for a number of reads.
func (g *Group) readIndex(reads int) (*dragonboat.RequestState, error) {
	g.metrics.round(reads)
	for deadline := time.Now().Add(g.roundTimeout); ; {
		left := time.Until(deadline)
		if left < g.roundTimeout/10 { // a tick at least
			return nil, fmt.Errorf("group %d: leaders change too fast to confirm the read: %w", g.id, ErrNotReady)
		}
		another := g.leader.another()
		request, err := g.host.ReadIndex(g.id, left)
		if err != nil {
			return nil, fmt.Errorf("group %d: %w", g.id, fromRaft(err))
		}
		select {
		case outcome := <-request.ResultC():
			return request, g.roundError(outcome)
		case <-another:
			// What the old leader was asked may be lost. Asking again is as good.
		}
	}
}

func (g *Group) roundError(outcome dragonboat.RequestResult) error {
	switch {
	case outcome.Completed():
		return nil
	case outcome.Dropped():
		return fmt.Errorf("group %d has no leader: %w", g.id, ErrNotReady)
	case outcome.Timeout():
		return fmt.Errorf("group %d: no leader confirmed the read within %s: %w", g.id, g.roundTimeout, ErrNotReady)
	default:
		return fmt.Errorf("group %d is stopping: %w", g.id, ErrNotReady)
	}
}
