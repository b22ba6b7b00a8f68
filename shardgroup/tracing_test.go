package shardgroup_test

import (
	"slices"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/skerrydb/skerry/shardgroup"
)

func TestSpansOfReadsAndWrites(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	node := openWith(t, func(o *shardgroup.Options) { o.Tracing = provider })
	m := rangeMap(t, node)
	ctx, root := provider.Tracer("test").Start(t.Context(), "request")
	if _, err := node.Service().AddBlock(ctx, addRequest(t, m, historyBlock(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Service().QueryBlocks(ctx, everything(m)); err != nil {
		t.Fatal(err)
	}
	var names, events []string
	for _, span := range recorder.Ended() {
		if span.Parent().SpanID() != root.SpanContext().SpanID() {
			continue // of the start
		}
		names = append(names, span.Name())
		for _, event := range span.Events() {
			events = append(events, event.Name)
		}
	}
	if !slices.Equal(names, []string{"raft propose", "raft read index", "state machine read"}) || !slices.Equal(events, []string{"entry sent", "entry applied"}) {
		t.Errorf("got spans %v and events %v", names, events)
	}
}
