package shardgroup

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// tracerName names this package in spans.
const tracerName = "github.com/skerrydb/skerry/shardgroup"

// tracing makes a group's spans. Its zero value makes none and costs nothing.
type tracing struct {
	tracer trace.Tracer
	group  attribute.KeyValue
}

func newTracing(provider trace.TracerProvider, group uint64) tracing {
	if provider == nil {
		return tracing{}
	}
	return tracing{provider.Tracer(tracerName), attribute.Int64("skerry.group", int64(group))}
}

func (t tracing) start(ctx context.Context, name string) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, noop.Span{}
	}
	return t.tracer.Start(ctx, name, trace.WithAttributes(t.group))
}

func (t tracing) end(span trace.Span, err error) {
	if t.tracer == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// event notes that something happened to the command of a proposal.
func (t tracing) event(ctx context.Context, name string, commands int) {
	if t.tracer != nil {
		trace.SpanFromContext(ctx).AddEvent(name, trace.WithAttributes(attribute.Int("skerry.entry_commands", commands)))
	}
}
