// Package server runs a whole Skerry in one process: a node with the directory
// and all groups, a router over it, and the two listeners.
//
//	listen → /healthz → node (store, Raft, groups) → objects → router → /readyz
//	                                                                      │
//	SIGTERM → not serving → finish calls → router → node → listeners ◄────┘
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/build"
	"github.com/skerrydb/skerry/cmd/internal/config"
	"github.com/skerrydb/skerry/cmd/internal/tracing"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/router"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/storage/objects"
)

// startTimeout bounds the start: replaying the log's tail and electing leaders.
const startTimeout = 5 * time.Minute

// server is a running process. Fields are set in the order of the start.
type server struct {
	settings config.Serve
	log      *zap.Logger
	metrics  *prometheus.Registry

	grpcListener, httpListener net.Listener
	http                       *http.Server
	node                       *shardgroup.Node
	objects                    *objects.Folder
	router                     *router.Router
	grpc                       *grpc.Server

	tracing     trace.TracerProvider // nil if off
	stopTracing func(context.Context) error

	// What /readyz answers: the reason not to be ready, or nil.
	phase atomic.Pointer[string]
}

// Run serves until the context ends, then stops in order. It writes what the
// operator needs to know at the start to stdout.
func Run(ctx context.Context, settings config.Serve, stdout io.Writer, log *zap.Logger) error {
	s := newServer(settings, log)
	failed := make(chan error, 2)
	if err := s.start(ctx, stdout, failed); err != nil {
		if ctx.Err() != nil { // asked to stop: what was started is undone, and that is all
			log.Info("stopped before it was ready")
			err = nil
		}
		return errors.Join(err, s.stop())
	}
	var err error
	select {
	case <-ctx.Done():
		log.Info("stopping", zap.Duration("at_most", settings.ShutdownTimeout))
	case err = <-failed:
	}
	err = errors.Join(err, s.stop())
	log.Info("stopped")
	return err
}

func newServer(settings config.Serve, log *zap.Logger) *server {
	s := &server{settings: settings, log: log, metrics: prometheus.NewRegistry()}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.setPhase("starting")
	return s
}

func (s *server) start(ctx context.Context, stdout io.Writer, failed chan<- error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	// Ports come first: a port in use is the most common mistake, and found
	// before anything else is touched.
	if s.grpcListener, err = listen("grpc.address", s.settings.GRPCAddress); err != nil {
		return err
	}
	if s.httpListener, err = listen("http.address", s.settings.HTTPAddress); err != nil {
		return err
	}
	if err := probe("raft.address", s.settings.RaftAddress); err != nil {
		return err
	}
	s.serveHTTP(failed)
	if s.tracing, s.stopTracing, err = tracing.Start(ctx, os.Getenv, build.Read().Version, s.log.Named("tracing")); err != nil {
		return err
	}
	if err := s.startNode(ctx); err != nil {
		return err
	}
	if s.objects, err = objects.OpenFolder(s.settings.ObjectsPath()); err != nil {
		return err
	}
	if err := s.startRouter(ctx); err != nil {
		return err
	}
	go func() {
		if err := s.grpc.Serve(s.grpcListener); err != nil {
			failed <- fmt.Errorf("serve gRPC: %w", err)
		}
	}()
	s.setPhase("")
	s.log.Info("ready", zap.String("cluster", s.node.ClusterID()), zap.String("node", s.node.ID()))
	return s.greet(stdout)
}

func (s *server) startNode(ctx context.Context) error {
	var err error
	s.node, err = shardgroup.Open(ctx, s.nodeOptions(), s.log, s.metrics)
	return err
}

// nodeOptions translates the settings.
func (s *server) nodeOptions() shardgroup.Options {
	return shardgroup.Options{
		DataDir: s.settings.DataDir, RaftAddress: s.settings.RaftAddress, APIAddress: s.grpcListener.Addr().String(),
		Groups: s.settings.Groups, StreamGroups: s.settings.StreamGroupCount(),
		RTT: s.settings.RaftRTT, CacheBytes: s.settings.CacheBytes, MemTableBytes: s.settings.MemtableBytes,
		MaxReads: s.settings.ReadsMax, MaxQueuedReads: 16 * s.settings.ReadsMax,
		MaxAnswersBytes: s.settings.AnswersBytesMax, QueryTimeout: s.settings.QueryTimeout,
		IndexCacheBytes: int(s.settings.IndexCacheBytes), Tracing: s.tracing,
		Compaction: s.settings.Compaction.Schedule(), Retention: s.settings.Retention.Plan(), RetentionInterval: sweepInterval(s.settings.Retention.Interval),
		OverridesPath: s.settings.Retention.OverridesFile, OverridesInterval: s.settings.Retention.OverridesReload,
	}
}

// sweepInterval translates a setting in which 0 means never.
func sweepInterval(interval time.Duration) time.Duration {
	if interval == 0 {
		return -1
	}
	return interval
}

func (s *server) startRouter(ctx context.Context) error {
	info := build.Read()
	options := router.Options{
		ID: s.node.ID(), AdvertiseAddress: s.grpcListener.Addr().String(), Version: info.Version, Revision: info.Revision,
		MaxWrites: s.settings.InflightRequestsMax, MaxReads: s.settings.InflightRequestsMax,
		SlowQuery: s.settings.SlowQuery, Tracing: s.tracing, AllowTenantDeletion: s.settings.AllowTenantDeletion,
	}
	if options.SlowQuery == 0 {
		options.SlowQuery = -1 // never
	}
	serverOptions, err := router.ServerOptions(options, s.log.Named("grpc"), s.metrics)
	if err != nil {
		return err
	}
	local := localNode{s.node.ID(), router.Direct(s.node.Service())}
	if s.router, err = router.New(options, local, router.StaticSeeds(local.client), s.log.Named("router"), s.metrics); err != nil {
		return err
	}
	s.grpc = grpc.NewServer(serverOptions...)
	s.router.RegisterPublic(s.grpc)
	s.router.RegisterAdmin(s.grpc)
	_, err = s.router.Maps().Await(ctx)
	return err
}

// stop undoes the start, as far as it came, in reverse order: no new calls,
// calls in progress, groups, listeners. It is forced after the timeout.
func (s *server) stop() error {
	s.setPhase("stopping")
	deadline := time.AfterFunc(s.settings.ShutdownTimeout, func() {
		s.log.Error("the stop took too long and is forced; acknowledged writes are safe in the Raft log",
			zap.Duration("timeout", s.settings.ShutdownTimeout))
		os.Exit(1)
	})
	defer deadline.Stop()
	if s.router != nil {
		s.router.Drain()
	}
	if s.grpc != nil {
		s.stopGRPC(s.settings.ShutdownTimeout / 2)
	}
	if s.router != nil {
		s.router.Close()
	}
	var err error
	if s.node != nil {
		err = s.node.Close()
	}
	if s.stopTracing != nil {
		s.flushSpans()
	}
	// A server that ran has closed its listener. After a start that failed half
	// way it may still be open.
	if s.grpcListener != nil {
		s.grpcListener.Close()
	}
	switch {
	case s.http != nil:
		err = errors.Join(err, s.http.Close())
	case s.httpListener != nil:
		err = errors.Join(err, s.httpListener.Close())
	}
	return err
}

// flushSpans sends the last spans, if somebody takes them.
func (s *server) flushSpans() {
	ctx, cancel := context.WithTimeout(context.Background(), s.settings.ShutdownTimeout/4)
	defer cancel()
	if err := s.stopTracing(ctx); err != nil {
		s.log.Warn("the last spans are lost", zap.Error(err))
	}
}

// stopGRPC lets calls in progress finish, for a while.
func (s *server) stopGRPC(patience time.Duration) {
	impatient := time.AfterFunc(patience, s.grpc.Stop)
	defer impatient.Stop()
	s.grpc.GracefulStop()
}

func listen(setting, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	return listener, explainListen(setting, address, err)
}

// probe finds out whether an address can be listened on by somebody else.
func probe(setting, address string) error {
	listener, err := listen(setting, address)
	if err != nil {
		return err
	}
	return listener.Close()
}

func explainListen(setting, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("address %s is in use: stop what listens there, or choose another with -%s", address, setting)
	}
	if err != nil {
		return fmt.Errorf("cannot listen on %s (-%s): %w", address, setting, err)
	}
	return nil
}

// localNode is the one node of the process, reached without a network.
type localNode struct {
	id     string
	client nodev1.NodeServiceClient
}

func (l localNode) NodeClient(node *clusterv1.Node) (nodev1.NodeServiceClient, error) {
	if node.GetNodeId() != l.id {
		return nil, fmt.Errorf("node %s is not in this process", node.GetNodeId())
	}
	return l.client, nil
}
