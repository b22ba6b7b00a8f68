// Package server runs the processes of a cluster: a node, a router, or both.
//
//	serve   node that founds a cluster by itself, and a router
//	node    node that joins or waits, and a router if it is asked for
//	router  router alone
//
//	ports → certificates → /healthz → node (store, Raft) → router → APIs → /readyz
//	                                                                      │
//	SIGTERM → not ready → leaders away → calls finish → router → node ◄───┤
//	a fault of the node → exit at once ◄──────────────────────────────────┘
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc/health"

	"github.com/skerrydb/skerry/cmd/internal/build"
	"github.com/skerrydb/skerry/cmd/internal/config"
	"github.com/skerrydb/skerry/cmd/internal/tracing"
	"github.com/skerrydb/skerry/router"
	"github.com/skerrydb/skerry/storage/objects"
)

// Times between two looks at whether the process is ready: while it is not, and
// while it is. A look asks each replica; a stop makes unready by itself.
const (
	lookInterval      = 50 * time.Millisecond
	readyLookInterval = time.Second
)

// server is a running process. Fields are set in the order of the start.
type server struct {
	settings config.Server
	log      *zap.Logger
	metrics  *prometheus.Registry

	ports    ports
	security security
	http     *http.Server
	pool     *router.Pool
	node     clusterNode    // nil in a router
	objects  objects.Bucket // nil in a router
	router   *router.Router
	apis     []*api
	// Of the ports for operators and nodes; the router has its own.
	health *health.Server

	tracing     trace.TracerProvider // nil if off
	stopTracing func(context.Context) error

	// Why /readyz says no before it asks the parts, "" for nothing.
	phase atomic.Pointer[string]
	// Ends the streams that would not end by themselves.
	streams    context.Context
	endStreams context.CancelFunc
}

// Run serves until the context ends, then stops in order. It writes what the
// operator needs to know to stdout. After a FaultError the process must exit:
// nothing was stopped in order.
func Run(ctx context.Context, settings config.Server, stdout io.Writer, log *zap.Logger) error {
	s := newServer(settings, log)
	failed := make(chan error, 8) // one for each server, and to spare
	if err := s.start(ctx, failed); err != nil {
		if ctx.Err() != nil { // asked to stop: what was started is undone, and that is all
			log.Info("stopped before it was ready")
			err = nil
		}
		return errors.Join(err, s.stop())
	}
	err := s.serve(ctx, stdout, failed)
	var fault *FaultError
	if errors.As(err, &fault) {
		// A store that does not answer would hold up a stop in order for ever.
		return err
	}
	err = errors.Join(err, s.stop())
	log.Info("stopped")
	return err
}

// FaultError is a fault of the node after which its process must not go on.
type FaultError struct{ Err error }

func (e *FaultError) Error() string { return "the node gave up: " + e.Err.Error() }

func (e *FaultError) Unwrap() error { return e.Err }

func newServer(settings config.Server, log *zap.Logger) *server {
	s := &server{settings: settings, log: log, metrics: prometheus.NewRegistry(), health: health.NewServer()}
	s.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.streams, s.endStreams = context.WithCancel(context.Background())
	s.setPhase("starting")
	s.setHealth(false)
	return s
}

// start returns when everything runs; it may not be ready yet.
func (s *server) start(ctx context.Context, failed chan<- error) error {
	var err error
	// Ports come first: a port in use is the most common mistake, and found
	// before anything else is touched.
	if err = s.ports.open(s.settings); err != nil {
		return err
	}
	if s.security, err = openSecurity(s.settings, s.log, s.metrics); err != nil {
		return err
	}
	if err := s.serveHTTP(failed); err != nil {
		return err
	}
	if s.tracing, s.stopTracing, err = tracing.Start(ctx, os.Getenv, build.Read().Version, s.log.Named("tracing")); err != nil {
		return err
	}
	if err := s.openPool(); err != nil {
		return err
	}
	if s.settings.HasNode() {
		if err := s.startNode(ctx); err != nil {
			return err
		}
	}
	if err := s.startRouter(); err != nil {
		return err
	}
	if err := s.serveAPIs(failed); err != nil {
		return err
	}
	s.warnOfOpenPorts()
	s.setPhase("")
	return nil
}

// serve waits for the end, and for the moment when the process is ready.
func (s *server) serve(ctx context.Context, stdout io.Writer, failed <-chan error) error {
	var faults <-chan error
	if s.node != nil {
		faults = s.node.Failed()
	}
	if err := s.greet(stdout); err != nil {
		return err
	}
	look := time.NewTimer(lookInterval)
	defer look.Stop()
	watch := readyWatch{server: s}
	for {
		select {
		case <-ctx.Done():
			s.log.Info("stopping", zap.Duration("at_most", s.settings.ShutdownTimeout))
			return nil
		case err := <-failed:
			return err
		case err := <-faults:
			s.setPhase("a fault ends the process")
			s.log.Error("a fault ends the process", zap.Error(err))
			return &FaultError{err}
		case now := <-look.C:
			if err := watch.look(now, stdout); err != nil {
				return err
			}
			look.Reset(watch.pause())
		}
	}
}

func (s *server) openPool() error {
	dial, err := s.security.dialOptions(s.settings)
	if err != nil {
		return err
	}
	s.pool, err = router.NewPool(router.PoolOptions{Dial: dial, LocalIP: s.settings.LocalAddress(), Tracing: s.tracing})
	return err
}

func (s *server) startRouter() error {
	var err error
	if s.router, err = router.New(s.routerOptions(), s.nodes(), s.seeds(), s.log.Named("router"), s.metrics); err != nil {
		return err
	}
	s.router.SetServing(false) // until there is a map
	return nil
}

func (s *server) routerOptions() router.Options {
	info := build.Read()
	options := router.Options{
		Version: info.Version, Revision: info.Revision, AdvertiseAddress: s.ports.advertised(),
		MaxWrites: s.settings.InflightRequestsMax, MaxReads: s.settings.InflightRequestsMax,
		SlowQuery: s.settings.SlowQuery, Tracing: s.tracing, AllowTenantDeletion: s.settings.AllowTenantDeletion,
	}
	if s.node != nil {
		options.ID = s.node.ID()
	}
	if options.SlowQuery == 0 {
		options.SlowQuery = -1 // never
	}
	return options
}

// nodes finds the node of this process without a network.
func (s *server) nodes() router.Nodes {
	if s.node == nil {
		return s.pool.Nodes("", nil)
	}
	return s.pool.Nodes(s.node.ID(), router.Direct(s.node.Service()))
}

func (s *server) seeds() router.Seeds {
	if s.node == nil {
		return s.pool.Seeds(s.settings.Join)
	}
	return s.pool.Seeds(s.settings.Join, router.Direct(s.node.Service()))
}

func (s *server) setPhase(reason string) { s.phase.Store(&reason) }

// ready returns nil if the process can serve, else why not, for people.
func (s *server) ready() error {
	if reason := *s.phase.Load(); reason != "" {
		return errors.New(reason)
	}
	if s.node != nil {
		if err := s.node.Ready(); err != nil {
			return err
		}
	}
	if !s.router.Ready() {
		return fmt.Errorf("the router has no map of the cluster yet: %s", s.whoIsAsked())
	}
	return nil
}

func (s *server) whoIsAsked() string {
	if s.node != nil {
		return "the node has none"
	}
	return fmt.Sprintf("no node of -join answered with one (%s)", (&listing{s.settings.Join}).String())
}
