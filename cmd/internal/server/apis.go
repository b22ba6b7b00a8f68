package server

import (
	"context"
	"fmt"
	"net"
	"slices"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/router"
)

// api is one gRPC port.
type api struct {
	name     string
	listener net.Listener
	server   *grpc.Server
}

// serveAPIs starts the gRPC ports. The admin API has a port of its own if that is
// set; else it is where operators are at home: on the node's port, and on the
// public one if that tells callers apart or only this machine reaches it.
func (s *server) serveAPIs(failed chan<- error) error {
	if err := s.addPublicAPI(); err != nil {
		return err
	}
	if err := s.addInnerAPIs(); err != nil {
		return err
	}
	for _, a := range s.apis {
		go func() {
			if err := a.server.Serve(a.listener); err != nil {
				failed <- fmt.Errorf("serve %s: %w", a.name, err)
			}
		}()
	}
	return nil
}

func (s *server) addPublicAPI() error {
	if s.ports.public == nil {
		return nil
	}
	options, err := router.ServerOptions(s.routerOptions(), s.log.Named("grpc"), s.metrics)
	if err != nil {
		return err
	}
	a, err := s.addAPI("the public API", s.ports.public, options)
	if err != nil {
		return err
	}
	s.router.RegisterPublic(a.server)
	if s.adminIsPublic() {
		s.router.RegisterAdmin(a.server)
	}
	return nil
}

func (s *server) adminIsPublic() bool {
	return s.ports.admin == nil && s.ports.public != nil && (loopback(s.ports.public.Addr()) || s.security.rolesEnabled())
}

// addInnerAPIs adds the ports for nodes and operators.
func (s *server) addInnerAPIs() error {
	if s.ports.node == nil && s.ports.admin == nil {
		return nil
	}
	options, err := router.NodeServerOptions(s.tracing, s.log.Named("grpc"), s.metrics)
	if err != nil {
		return err
	}
	options = append(options, grpc.ChainStreamInterceptor(s.endWithProcess))
	if s.ports.node != nil {
		a, err := s.addAPI("the node API", s.ports.node, options)
		if err != nil {
			return err
		}
		nodev1.RegisterNodeServiceServer(a.server, s.node.Service())
		healthv1.RegisterHealthServer(a.server, s.health)
		if s.ports.admin == nil {
			s.router.RegisterAdmin(a.server)
		}
	}
	if s.ports.admin != nil {
		a, err := s.addAPI("the admin API", s.ports.admin, options)
		if err != nil {
			return err
		}
		healthv1.RegisterHealthServer(a.server, s.health)
		s.router.RegisterAdmin(a.server)
	}
	return nil
}

func (s *server) addAPI(name string, listener net.Listener, options []grpc.ServerOption) (*api, error) {
	secured, err := s.security.serverOptions()
	if err != nil {
		return nil, err
	}
	a := &api{name, listener, grpc.NewServer(slices.Concat(secured, options)...)}
	s.apis = append(s.apis, a)
	return a, nil
}

// endWithProcess ends streams when the process stops: watchers of the map and of
// health would stay for ever.
func (s *server) endWithProcess(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	return handler(service, boundStream{stream, ctx})
}

type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (b boundStream) Context() context.Context { return b.ctx }
