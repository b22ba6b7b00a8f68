package router

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// WatchMap runs the server's method on a goroutine that ends with the context.
func (d direct) WatchMap(ctx context.Context, in *nodev1.WatchMapRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[clusterv1.MapUpdate], error) {
	w := &directWatch{ctx: ctx, updates: make(chan *clusterv1.MapUpdate), ended: make(chan struct{})}
	go func() {
		w.err = io.EOF
		if err := d.server.WatchMap(in, directWatchServer{directWatch: w}); err != nil {
			w.err = asStatus(err).Err()
		}
		close(w.ended)
	}()
	return directWatchClient{directWatch: w}, nil
}

// directWatch is a stream of map updates within the process. Nothing is buffered:
// a server waits for its client, as behind a connection that is full.
type directWatch struct {
	ctx     context.Context
	updates chan *clusterv1.MapUpdate
	// Closed after err was set.
	ended chan struct{}
	err   error
}

type directWatchServer struct {
	*directWatch
	grpc.ServerStream
}

func (s directWatchServer) Context() context.Context     { return s.ctx }
func (s directWatchServer) SetHeader(metadata.MD) error  { return nil }
func (s directWatchServer) SendHeader(metadata.MD) error { return nil }
func (s directWatchServer) SetTrailer(metadata.MD)       {}

func (s directWatchServer) Send(update *clusterv1.MapUpdate) error {
	select {
	case s.updates <- update:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

type directWatchClient struct {
	*directWatch
	grpc.ClientStream
}

func (c directWatchClient) Context() context.Context { return c.ctx }

func (c directWatchClient) Recv() (*clusterv1.MapUpdate, error) {
	select {
	case update := <-c.updates:
		return update, nil
	case <-c.ended:
		return nil, c.err
	case <-c.ctx.Done():
		return nil, asStatus(c.ctx.Err()).Err()
	}
}
