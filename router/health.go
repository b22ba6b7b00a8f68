package router

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthService is gRPC's health service whose watches end when the router
// drains: a watch lives as long as its client, and would hold up every stop.
type healthService struct {
	*health.Server
	draining chan struct{}
	once     sync.Once
}

func newHealthService() *healthService {
	return &healthService{Server: health.NewServer(), draining: make(chan struct{})}
}

// drain ends all watches, now and later.
func (s *healthService) drain() { s.once.Do(func() { close(s.draining) }) }

func (s *healthService) Watch(request *healthv1.HealthCheckRequest, stream grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-s.draining:
			cancel()
		case <-stop:
		}
	}()
	err := s.Server.Watch(request, endingStream{stream, ctx})
	if stream.Context().Err() == nil && ctx.Err() != nil {
		return status.Error(codes.Unavailable, "the router is shutting down")
	}
	return err
}

type endingStream struct {
	grpc.ServerStreamingServer[healthv1.HealthCheckResponse]
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }
