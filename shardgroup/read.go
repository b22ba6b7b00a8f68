package shardgroup

import (
	"context"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// reading is what every read of data names.
type reading struct {
	group  uint64
	ranges []*clusterv1.RangeRef
	// Bound of the answer.
	maxBytes uint64
}

// read runs a query on a group within the node's limits and returns its answer,
// or a status error. The query is made for a context that ends, also if the
// caller's does not, and for a bound of the answer; it may run more than once.
func read[T any](ctx context.Context, s service, what reading, query func(context.Context, uint64) statemachine.Query) (T, error) {
	answer, err := s.read(ctx, what, query)
	if err != nil {
		var none T
		return none, toStatus(err, what.group)
	}
	return answer.(T), nil
}

func (s service) read(ctx context.Context, what reading, query func(context.Context, uint64) statemachine.Query) (any, error) {
	if err := checkRanges(what.ranges); err != nil {
		return nil, err
	}
	g, err := s.group(what.group)
	if err != nil {
		return nil, err
	}
	l := s.node.limits
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	// The round comes before the place: reads that wait for a place share it.
	ready, err := g.await(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	defer l.end()
	return l.timed(ctx, func(ctx context.Context) (any, error) {
		return l.granted(what.maxBytes, func(maxBytes uint64) (any, error) {
			return g.lookup(ctx, ready, query(ctx, maxBytes))
		})
	})
}
