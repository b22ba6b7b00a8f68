package router

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// fakeWatch is the map of one node, which may be late or hang.
type fakeWatch struct {
	mu      sync.Mutex
	current *clusterv1.RangeMap
	changed chan struct{} // closed at the next change
	hangs   chan struct{} // closed when the node goes on; nil if it does not hang
	deaf    bool          // streams say nothing
	watches int           // streams that were opened
	ended   int
	from    []uint64 // versions they were opened with
}

// watch makes nodes' maps watchable.
func (c *fakeCluster) watch(nodes ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchable = map[string]*fakeWatch{}
	for _, id := range nodes {
		c.watchable[id] = &fakeWatch{current: c.truth.Proto(), changed: make(chan struct{})}
	}
}

// show gives a node a newer map.
func (w *fakeWatch) show(m *clusterv1.RangeMap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = m
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *fakeWatch) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (n *fakeNode) watchOf() *fakeWatch {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.cluster.watchable[n.id]
}

// live waits while the node hangs.
func (w *fakeWatch) live(ctx context.Context) error {
	w.mu.Lock()
	hangs := w.hangs
	w.mu.Unlock()
	if hangs == nil {
		return nil
	}
	select {
	case <-hangs:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *fakeNode) WatchMap(in *nodev1.WatchMapRequest, stream grpc.ServerStreamingServer[clusterv1.MapUpdate]) error {
	w := n.watchOf()
	if w == nil {
		return status.Error(codes.Unimplemented, "no watch")
	}
	if err := n.check(stream.Context(), "WatchMap", 0, in); err != nil {
		return err
	}
	w.set(func() { w.watches++; w.from = append(w.from, in.GetVersion()) })
	defer w.set(func() { w.ended++ })
	var sent *clusterv1.RangeMap
	for {
		if err := w.live(stream.Context()); err != nil {
			return err
		}
		w.mu.Lock()
		current, changed, deaf := w.current, w.changed, w.deaf
		w.mu.Unlock()
		var err error
		switch {
		case deaf:
		case sent == nil && in.GetVersion() != current.GetCluster().GetMapVersion():
			err = stream.Send(&clusterv1.MapUpdate{Update: &clusterv1.MapUpdate_Snapshot{Snapshot: current}})
		case sent != nil && sent != current:
			err = stream.Send(&clusterv1.MapUpdate{Update: &clusterv1.MapUpdate_Delta{Delta: clusterv1.Diff(sent, current)}})
		}
		if err != nil {
			return err
		}
		sent = current
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (n *fakeNode) Hello(ctx context.Context, in *nodev1.HelloRequest) (*nodev1.HelloResponse, error) {
	if err := n.check(ctx, "Hello", 0, in); err != nil {
		return nil, err
	}
	w := n.watchOf()
	if w == nil {
		return nil, status.Error(codes.Unimplemented, "no hello")
	}
	if err := w.live(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return &nodev1.HelloResponse{ClusterId: w.current.GetCluster().GetClusterId(), MapVersion: w.current.GetCluster().GetMapVersion()}, nil
}
