package router

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/proto/wirecodec"
)

// Connections between routers and nodes. gRPC's clients ping every ten seconds
// at most; but bytes that nobody acknowledges end a connection after the time-out
// (TCP_USER_TIMEOUT), so a peer that vanished while it is talked to is noticed
// within that.
const (
	nodePing        = 10 * time.Second
	nodePingTimeout = 3 * time.Second
	// Blocks come with their sort keys, so answers may exceed public ones.
	maxNodeMessage = 2 * MaxMessageBytes
	// Routers send all calls over one connection.
	maxNodeStreams = 100_000
)

// NodeServerOptions returns what a gRPC server of the node API needs, except
// credentials: the codec, the bounds and keepalive rules that connections of a
// Pool count on, and interceptors that measure calls and turn panics into errors.
// More interceptors may be chained behind them. Tracing, the logger and the
// registerer may be nil.
func NodeServerOptions(tracing trace.TracerProvider, log *zap.Logger, registerer prometheus.Registerer) ([]grpc.ServerOption, error) {
	g := &nodeGuard{
		log: sparse(log),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skerry_node_api_duration_seconds", Help: "Time of calls to the node API.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}, []string{"route", "code"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "skerry_node_api_inflight_calls", Help: "Calls to the node API under way.",
		}, []string{"route"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "skerry_node_api_panics_total", Help: "Panics in calls to the node API that were turned into errors.",
		}),
	}
	if err := register(registerer, g.durations, g.inFlight, g.panics); err != nil {
		return nil, err
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(wirecodec.Codec{}),
		grpc.MaxRecvMsgSize(maxNodeMessage), grpc.MaxSendMsgSize(maxNodeMessage),
		grpc.MaxConcurrentStreams(maxNodeStreams),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ConnectionTimeout(3 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: nodePing / 2, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: nodePing, Timeout: nodePingTimeout}),
		grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream),
	}
	if tracing != nil {
		options = append(options, grpc.StatsHandler(otelgrpc.NewServerHandler(handlerOptions(tracing)...)))
	}
	return options, nil
}

type nodeGuard struct {
	log       *zap.Logger
	durations *prometheus.HistogramVec
	inFlight  *prometheus.GaugeVec
	panics    prometheus.Counter
}

func (g *nodeGuard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	defer g.begin(info.FullMethod)(&err)
	defer g.recover(info.FullMethod, &err)
	return handler(ctx, request)
}

func (g *nodeGuard) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer g.begin(info.FullMethod)(&err)
	defer g.recover(info.FullMethod, &err)
	return handler(server, stream)
}

func (g *nodeGuard) begin(route string) func(*error) {
	start, inFlight := time.Now(), g.inFlight.WithLabelValues(route)
	inFlight.Inc()
	return func(err *error) {
		inFlight.Dec()
		g.durations.WithLabelValues(route, status.Code(*err).String()).Observe(time.Since(start).Seconds())
	}
}

// recover must be deferred itself.
func (g *nodeGuard) recover(route string, err *error) {
	if r := recover(); r != nil {
		g.panics.Inc()
		g.log.Error("panic in a call to the node", zap.String("route", route), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}
