package router

import (
	"context"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/stats"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// tracerName names this package in spans.
const tracerName = "github.com/skerrydb/skerry/router"

// tracing makes spans. Its zero value makes none and costs nothing.
type tracing struct{ tracer trace.Tracer }

func newTracing(provider trace.TracerProvider) tracing {
	if provider == nil {
		return tracing{}
	}
	return tracing{provider.Tracer(tracerName)}
}

// call begins the span of a call to a node.
func (t tracing) call(ctx context.Context, name string, group uint64, node string) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, noop.Span{}
	}
	return t.tracer.Start(ctx, "node "+name, trace.WithAttributes(
		attribute.Int64("skerry.group", int64(group)), attribute.String("skerry.node", node)))
}

// endCall ends it, with the router's reading of the outcome.
func (t tracing) endCall(span trace.Span, err error) {
	if t.tracer == nil {
		return
	}
	if err != nil {
		span.SetAttributes(attribute.String("skerry.outcome", judge(err).outcome))
		span.SetStatus(codes.Error, asStatus(err).Message())
	}
	span.End()
}

// cost puts a group's cost into the span of its call.
func (t tracing) cost(ctx context.Context, cost *nodev1.QueryCost) {
	if t.tracer != nil {
		trace.SpanFromContext(ctx).SetAttributes(costAttributes(cost)...)
	}
}

// explained puts what a query cost into the request's span.
func (t tracing) explained(ctx context.Context, e *adminv1.QueryExplanation) {
	if t.tracer == nil {
		return
	}
	trace.SpanFromContext(ctx).SetAttributes(append(costAttributes(e.GetCost()),
		attribute.Int64("skerry.query.groups", int64(e.GetGroupsAsked())),
		attribute.Int64("skerry.query.node_calls", int64(e.GetNodeCalls())),
		attribute.Int64("skerry.query.retries", int64(e.GetRetries())),
		attribute.Int64("skerry.query.reroutes", int64(e.GetReroutes())),
		attribute.Int64("skerry.query.extra_rounds", int64(e.GetExtraRounds())),
	)...)
}

func costAttributes(cost *nodev1.QueryCost) []attribute.KeyValue {
	var attributes []attribute.KeyValue
	if cost == nil {
		return nil
	}
	for _, item := range nodev1.CostItems() {
		attributes = append(attributes, attribute.Int64("skerry.query."+item.Name, int64(*item.Of(cost))))
	}
	return attributes
}

// handlerOptions are those of gRPC's spans: W3C trace context in and out, no
// metrics (there are others), no health checks.
func handlerOptions(provider trace.TracerProvider) []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool {
			return !strings.HasPrefix(info.FullMethodName, "/grpc.health.v1.Health/")
		}),
	}
}
