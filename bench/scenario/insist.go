package scenario

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/skerrydb/skerry/bench/pace"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Gaps are the longest times in which nobody's add was acknowledged.
type Gaps struct {
	// Of all adds together, and of those to any one shard.
	All, Shard time.Duration
}

// gaps watches acknowledgements.
type gaps struct {
	mu    sync.Mutex
	last  time.Time
	shard map[uint32]time.Time
	most  Gaps
}

func newGaps(began time.Time) *gaps { return &gaps{last: began, shard: map[uint32]time.Time{}} }

func (g *gaps) acknowledged(shard uint32, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.most.All = max(g.most.All, at.Sub(g.last))
	g.last = at
	if before, some := g.shard[shard]; some {
		g.most.Shard = max(g.most.Shard, at.Sub(before))
	}
	g.shard[shard] = at
}

func (g *gaps) longest() Gaps {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

const (
	// How long one attempt may take before another address is tried, and the pause before.
	insistAttempt = 5 * time.Second
	insistPause   = 5 * time.Millisecond
)

// Insist adds blocks that are not there yet; each is tried, at one address after the other, until it is acknowledged.
// Latencies are those of the whole. It returns the longest gaps, too.
func (s *Session) Insist(ctx context.Context, o pace.Options) (*pace.Measurement, Gaps, error) {
	watched := newGaps(time.Now())
	ready := make([]*prepared, o.Callers)
	m, err := pace.Run(ctx, o, func(ctx context.Context, caller int, _ uint64) (func() error, error) {
		p := ready[caller]
		if p == nil {
			p = s.prepare()
		}
		ready[caller] = nil
		if err := s.insist(ctx, caller, p.request); err != nil {
			return nil, err
		}
		s.ledger.acknowledged(p.index)
		watched.acknowledged(p.request.GetBlock().GetShard(), time.Now())
		return func() error {
			ready[caller] = s.prepare()
			return nil
		}, nil
	})
	if err != nil {
		return nil, Gaps{}, err
	}
	return m, watched.longest(), ctx.Err()
}

func (s *Session) insist(ctx context.Context, caller int, request *metastorev1.AddBlockRequest) error {
	for attempt, began := 0, time.Now(); ; attempt++ {
		limited, cancel := context.WithTimeout(ctx, min(s.timeout, insistAttempt))
		_, err := s.index(caller+attempt).AddBlock(limited, request)
		cancel()
		if err == nil || time.Since(began) > patience {
			return err
		}
		select {
		case <-time.After(insistPause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// Settle adds what was begun and not acknowledged, so that what is there is a known set.
func (s *Session) Settle(ctx context.Context) error { return s.settle(ctx) }
