package router

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	"google.golang.org/grpc/keepalive"

	"github.com/skerrydb/skerry/proto/wirecodec"
)

// streamWorkers is how many calls at once find a goroutine that has grown already; others
// get a new one.
const streamWorkers = 64

// ServerOptions returns what a gRPC server of the public API needs: the codec,
// the size limits and keepalive rules that Pyroscope's clients expect, and the
// interceptors. The node API may be on the same server: it is measured and
// guarded against panics too, but the bounds on requests in progress are for
// public calls only (else two full routers could wait for each other). The
// logger and the registerer may be nil.
func ServerOptions(options Options, log *zap.Logger, registerer prometheus.Registerer) ([]grpc.ServerOption, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	options = options.withDefaults()
	g, err := newGuard(options, sparse(log), registerer)
	if err != nil {
		return nil, err
	}
	serverOptions := []grpc.ServerOption{
		grpc.ForceServerCodecV2(requestCodec{}),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		// A connection that never says a word is dropped soon: stopping waits for
		// connections that are being set up.
		grpc.ConnectionTimeout(3 * time.Second),
		grpc.MaxConcurrentStreams(options.MaxConcurrentStreams),
		grpc.NumStreamWorkers(streamWorkers),
		// Clients ping every 20 s, also when idle.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// Notice clients that vanished without a word.
			Time: time.Minute, Timeout: 20 * time.Second,
			MaxConnectionAge: options.MaxConnectionAge, MaxConnectionAgeGrace: options.MaxConnectionAgeGrace,
		}),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
	}
	if options.Tracing != nil {
		serverOptions = append(serverOptions, grpc.StatsHandler(otelgrpc.NewServerHandler(handlerOptions(options.Tracing)...)))
	}
	return serverOptions, nil
}

// DialOptions returns what a connection to a node needs, except credentials.
// Answers of nodes may be a little larger than public ones: each block comes
// with its sort key. With tracing, which may be nil, nodes hear of the traces
// that their calls belong to.
func DialOptions(tracing trace.TracerProvider) []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(wirecodec.Codec{}),
			grpc.MaxCallRecvMsgSize(maxNodeMessage),
			grpc.MaxCallSendMsgSize(maxNodeMessage),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: nodePing, Timeout: nodePingTimeout, PermitWithoutStream: true}),
	}
	if tracing != nil {
		options = append(options, grpc.WithStatsHandler(otelgrpc.NewClientHandler(handlerOptions(tracing)...)))
	}
	return options
}
