package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/raftnode"
)

// HealthService is the name under which Pyroscope's clients ask for health.
const HealthService = "pyroscope.metastore"

// Router serves the public API. Make it with New.
type Router struct {
	options Options
	source  *MapSource
	fanout  *fanout
	// What waits for compaction workers.
	backlogs *backlogs
	health   *healthService
	// A place for each import of blocks under way.
	imports chan struct{}
	closing sync.Once
}

// New starts a router: it begins to read the range map from the seeds. Requests
// that come before the first map wait for it within their budgets. The logger
// and the registerer may be nil.
func New(options Options, nodes Nodes, seeds Seeds, log *zap.Logger, registerer prometheus.Registerer) (*Router, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	if nodes == nil || seeds == nil {
		return nil, errors.New("router: nodes and seeds are required")
	}
	options = options.withDefaults()
	metrics, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	log = sparse(log)
	source := newMapSource(seeds, nodes, options, log, metrics)
	if err := register(registerer, source.age()); err != nil {
		return nil, err
	}
	r := &Router{
		options: options, source: source, backlogs: newBacklogs(), health: newHealthService(),
		imports: make(chan struct{}, importsMax),
		fanout: &fanout{
			source: source, nodes: nodes, hedges: newHedges(), tracing: newTracing(options.Tracing),
			limit: options.FanOut, log: log, metrics: metrics,
		},
	}
	r.fanout.leaders = newLeaders(source, nodes, &r.fanout.replicas)
	r.SetServing(true)
	source.begin(options.RefreshInterval)
	return r, nil
}

// RegisterPublic adds the services that Pyroscope calls, and health. The server
// must be made with ServerOptions: requests are received in a form that only its
// codec knows.
func (r *Router) RegisterPublic(server *grpc.Server) {
	public := publicServices{server, r.fanout.metrics.undecodable}
	metastorev1.RegisterIndexServiceServer(public, &indexService{router: r})
	metastorev1.RegisterMetadataQueryServiceServer(public, &queryService{router: r})
	metastorev1.RegisterTenantServiceServer(public, &tenantService{router: r})
	metastorev1.RegisterCompactionServiceServer(public, &compactionService{router: r})
	raftnode.RegisterRaftNodeServiceServer(public, &raftNodeService{router: r})
	healthv1.RegisterHealthServer(public, r.health)
}

// RegisterAdmin adds the operator's service: whoever calls it may change the
// cluster. The server may be the public one, one of the node API, or another
// with the usual codec.
func (r *Router) RegisterAdmin(server grpc.ServiceRegistrar) {
	adminv1.RegisterAdminServiceServer(server, &adminService{router: r})
}

// Maps gives access to the range map.
func (r *Router) Maps() *MapSource { return r.source }

// Ready tells whether requests have a chance: a range map is loaded.
func (r *Router) Ready() bool { return r.source.Ready() }

// SetServing sets what the health service answers. A new router is serving;
// set it to false before the process shuts down.
func (r *Router) SetServing(serving bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthv1.HealthCheckResponse_SERVING
	}
	r.health.SetServingStatus("", state)
	r.health.SetServingStatus(HealthService, state)
}

// Drain prepares for the end: health is NOT_SERVING from now on, and its
// watches end. Requests are still served.
func (r *Router) Drain() {
	r.SetServing(false)
	r.health.drain()
}

// Close ends the background work. Stop the gRPC server first; requests that
// still come work with the last map.
func (r *Router) Close() {
	r.closing.Do(func() {
		r.health.Shutdown()
		r.source.close()
	})
}

// run is fanout.run for the services.
func (r *Router) run(ctx context.Context, name string, budget time.Duration, spans []span, ask ask) error {
	return r.fanout.run(ctx, name, budget, spans, nil, ask)
}

// sparse keeps repeated lines rare: an outage fails every request alike.
func sparse(log *zap.Logger) *zap.Logger {
	if log == nil {
		return zap.NewNop()
	}
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, 3, 1000)
	}))
}
