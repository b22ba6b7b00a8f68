package router

import (
	"context"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// guard stands between the connections and the services: it measures calls,
// turns panics into errors and bounds the public calls in progress.
type guard struct {
	log           *zap.Logger
	writes, reads *limiter
	durations     *prometheus.HistogramVec
	inFlight      *prometheus.GaugeVec
	panics        *prometheus.CounterVec
}

func newGuard(options Options, log *zap.Logger, registerer prometheus.Registerer) (*guard, error) {
	g := &guard{
		log: log,
		// The name and labels are Pyroscope's: its dashboards show them.
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "pyroscope_request_duration_seconds",
			Help:                            "Time (in seconds) spent serving requests.",
			Buckets:                         []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50, 100},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"method", "route", "status_code", "ws"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "skerry_server_inflight_requests",
			Help: "Requests being served, those that wait for a place included.",
		}, []string{"route"}),
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_server_panics_total",
			Help: "Panics of request handlers that were turned into errors.",
		}, []string{"route"}),
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "skerry_server_refused_requests_total",
		Help: "Requests refused because too many were waiting.",
	}, []string{"kind"})
	g.writes = newLimiter(options.MaxWrites, options.MaxQueuedWrites, refused.WithLabelValues("write"))
	g.reads = newLimiter(options.MaxReads, options.MaxQueuedReads, refused.WithLabelValues("read"))
	return g, register(registerer, g.durations, g.inFlight, g.panics, refused)
}

func (g *guard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	defer g.observe(info.FullMethod)(&err)
	defer g.recover(info.FullMethod, &err)
	if limiter := g.limiter(info.FullMethod); limiter != nil {
		if err := limiter.enter(ctx); err != nil {
			return nil, err
		}
		defer limiter.leave()
	}
	return handler(ctx, request)
}

func (g *guard) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer g.observe(info.FullMethod)(&err)
	defer g.recover(info.FullMethod, &err)
	return handler(server, stream)
}

// limiter returns nil for calls that are never held up: health, node to node,
// and the operator's.
func (g *guard) limiter(route string) *limiter {
	switch {
	case !strings.HasPrefix(route, "/metastore.v1."):
		return nil
	case route == "/metastore.v1.IndexService/AddBlock", strings.HasPrefix(route, "/metastore.v1.CompactionService/"):
		return g.writes
	default:
		return g.reads
	}
}

// observe counts a call from now on and measures it when it ends.
func (g *guard) observe(route string) func(*error) {
	start, inFlight := time.Now(), g.inFlight.WithLabelValues(route)
	inFlight.Inc()
	return func(err *error) {
		inFlight.Dec()
		g.durations.WithLabelValues("gRPC", route, statusLabel(*err), "false").Observe(time.Since(start).Seconds())
	}
}

// statusLabel has the values that Pyroscope's servers use.
func statusLabel(err error) string {
	switch {
	case err == nil:
		return "success"
	case status.Code(err) == codes.Canceled:
		return "cancel"
	default:
		return "error"
	}
}

// recover must be deferred itself.
func (g *guard) recover(route string, err *error) {
	if r := recover(); r != nil {
		g.panics.WithLabelValues(route).Inc()
		g.log.Error("panic in a request", zap.String("route", route), zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}
