package router

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// A query with this header set to "1" is answered with an encoded
// adminv1.QueryExplanation in the trailer. Pyroscope's clients send no such
// header and get no trailer.
const (
	ExplainHeader  = "skerry-explain"
	ExplainTrailer = "skerry-explain-bin"
)

// Bytes of a selector in a log line.
const loggedSelectorBytes = 256

// askQuery is ask for queries: it also returns what the answer cost.
type askQuery func(ctx context.Context, node nodev1.NodeServiceClient, p part) (*nodev1.QueryCost, take, error)

// query runs a query on the groups of its spans, until what it collected makes an
// answer, and reports its cost.
func (r *Router) query(ctx context.Context, name string, s *selection, into collected, ask askQuery) error {
	t := newTally()
	err := r.agree(ctx, name, r.options.QueryBudget, s.spans, t, into,
		func(ctx context.Context, node nodev1.NodeServiceClient, p part) (take, error) {
			cost, take, err := ask(ctx, node, p)
			if err != nil {
				return nil, err
			}
			r.fanout.tracing.cost(ctx, cost)
			return func() error {
				t.answered(p.group, cost)
				return take()
			}, nil
		})
	r.report(ctx, name, s, t.explain(), err)
	return err
}

// report publishes the cost of a query that ended, with whatever outcome.
func (r *Router) report(ctx context.Context, name string, s *selection, e *adminv1.QueryExplanation, err error) {
	r.fanout.metrics.queried(name, e)
	r.fanout.tracing.explained(ctx, e)
	if headerSet(ctx, ExplainHeader) {
		if encoded, fault := e.MarshalVT(); fault == nil {
			// Fails only outside of gRPC, where nobody reads trailers.
			_ = grpc.SetTrailer(ctx, metadata.Pairs(ExplainTrailer, string(encoded)))
		}
	}
	if slow := r.options.SlowQuery; slow > 0 && e.GetElapsed() >= int64(slow) {
		r.fanout.log.Warn("slow query", append(describeQuery(name, s, e), zap.Error(err))...)
	}
}

// describeQuery is a query's log line. What clients send is cut.
func describeQuery(name string, s *selection, e *adminv1.QueryExplanation) []zap.Field {
	q := s.request
	selector := q.GetQuery()
	if len(selector) > loggedSelectorBytes {
		selector = fmt.Sprintf("%s… (%d bytes)", selector[:loggedSelectorBytes], len(selector))
	}
	fields := []zap.Field{
		zap.String("call", name), zap.Duration("elapsed", time.Duration(e.GetElapsed())),
		zap.String("tenant", fmt.Sprintf("%.64s", s.tenants[0])), zap.Int("tenants", len(s.tenants)),
		zap.Int64("start_ms", q.GetStartTime()), zap.Int64("end_ms", q.GetEndTime()),
		zap.String("selector", selector), zap.Int("labels", len(q.GetLabels())),
		zap.Uint32("groups", e.GetGroupsAsked()), zap.Uint32("node_calls", e.GetNodeCalls()),
		zap.Uint32("retries", e.GetRetries()), zap.Uint32("reroutes", e.GetReroutes()),
		zap.Uint32("extra_rounds", e.GetExtraRounds()),
	}
	for _, item := range nodev1.CostItems() {
		fields = append(fields, zap.Uint64(item.Name, *item.Of(e.GetCost())))
	}
	return fields
}
