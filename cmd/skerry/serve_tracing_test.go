package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// collector keeps the spans that it is sent.
type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracev1.Span
	names []string // of services
}

func (c *collector) Export(_ context.Context, request *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				c.names = append(c.names, attribute.GetValue().GetStringValue())
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// A real server sends the spans of a traced query where the environment says,
// the last ones when it stops; and it explains the query to the command.
func TestServeTracesAndExplains(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	go server.Serve(listener) //nolint:errcheck // ends with the server
	defer server.Stop()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	s := startServe(t, t.TempDir())
	block := readBlocks(t, "../../proto/testdata/blocks/L0.pb")[0]
	if err := s.add(block); err != nil {
		t.Fatal(err)
	}
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	if _, err := s.QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{TenantId: []string{"tenant-0"}, EndTime: 1 << 62, Query: "{}"}); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	command := exec.Command("skerry", "query", "{}", "-tenant", "tenant-0", "-from", "2025-01-01T00:00:00Z", "-explain", "-addr", s.conn.Target())
	command.Stdout = &stdout
	if err := command.Run(); err != nil || !strings.Contains(stdout.String(), "\nshards ") || !strings.Contains(stdout.String(), "GROUP") {
		t.Errorf("%v, said %q", err, stdout.String())
	}
	s.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, span := range c.spans {
		if hex.EncodeToString(span.GetTraceId()) == trace {
			names = append(names, span.GetName())
		}
	}
	for _, want := range []string{"metastore.v1.MetadataQueryService/QueryMetadata", "node QueryMetadata", "raft read index", "state machine read"} {
		if !slices.Contains(names, want) {
			t.Errorf("the trace has %v, lacks %s", names, want)
		}
	}
	if len(c.names) == 0 || c.names[0] != "skerry" {
		t.Errorf("the service calls itself %v", c.names)
	}
}
