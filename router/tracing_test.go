package router

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func attributeOf(span sdktrace.ReadOnlySpan, key string) attribute.Value {
	for _, kv := range span.Attributes() {
		if string(kv.Key) == key {
			return kv.Value
		}
	}
	return attribute.Value{}
}

// A query that comes with a trace continues it down to the calls to nodes.
func TestSpansOfAQuery(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	c.costs[2] = &nodev1.QueryCost{BlocksTested: 42}
	recorder := tracetest.NewSpanRecorder()
	options := Options{Tracing: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))}
	conn := public(t, c.start(t, options), options, nil)
	c.setBefore(failing("QueryBlocks", 1, routeFault(codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY)))
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	if _, err := metastorev1.NewMetadataQueryServiceClient(conn).QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{}"}); err != nil {
		t.Fatal(err)
	}
	// The server's span ends a moment after the client has the answer.
	conn.Close()
	var spans []sdktrace.ReadOnlySpan
	awaitSpans(t, recorder, 3)
	spans = recorder.Ended()
	server := spans[len(spans)-1]
	if server.Name() != "metastore.v1.MetadataQueryService/QueryMetadata" || server.Parent().SpanID().String() != "00f067aa0ba902b7" {
		t.Errorf("the request's span is %s under %s", server.Name(), server.Parent().SpanID())
	}
	if tested := attributeOf(server, "skerry.query.blocks_tested"); tested.AsInt64() != 42 {
		t.Errorf("the request's span says %v blocks were tested", tested.AsInt64())
	}
	for i, outcome := range []string{"not_ready", ""} {
		call := spans[i]
		if call.Name() != "node QueryMetadata" || call.Parent().SpanID() != server.SpanContext().SpanID() || call.SpanContext().TraceID().String() != trace {
			t.Errorf("call %d is %s under %s", i, call.Name(), call.Parent().SpanID())
		}
		if attributeOf(call, "skerry.group").AsInt64() != 2 || attributeOf(call, "skerry.node").AsString() != "n1" || attributeOf(call, "skerry.outcome").AsString() != outcome {
			t.Errorf("call %d has %v", i, call.Attributes())
		}
	}
}

func awaitSpans(t testing.TB, recorder *tracetest.SpanRecorder, n int) {
	t.Helper()
	for len(recorder.Ended()) < n {
		if t.Context().Err() != nil {
			t.Fatalf("%d spans ended, want %d", len(recorder.Ended()), n)
		}
		_ = wait(t.Context(), retryPace().first)
	}
	if got := len(recorder.Ended()); got != n {
		t.Errorf("%d spans ended, want %d", got, n)
	}
}

// Without tracing nothing is allocated for it.
func TestNoTracingCostsNothing(t *testing.T) {
	var none tracing
	if n := testing.AllocsPerRun(100, func() {
		ctx, span := none.call(t.Context(), "QueryMetadata", 2, "n1")
		none.cost(ctx, nil)
		none.endCall(span, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
