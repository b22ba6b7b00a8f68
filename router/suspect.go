package router

import (
	"context"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Between two looks at a node that did not answer, and how long one may take.
const suspectPace = time.Second

// suspect leaves a node alone that did not answer a call, for all groups, until
// it says that it lives. One that lives is asked again within milliseconds: then
// it was its group that hangs. So a node that stopped costs each request in
// flight one attempt, and later ones nothing, however many groups it has.
func (f *fanout) suspect(m *clusterv1.Map, node string) {
	h := f.replicas.host(node)
	if !h.suspect.CompareAndSwap(false, true) {
		return
	}
	f.metrics.suspects.Inc()
	if !f.source.background(func(ctx context.Context) {
		defer f.metrics.suspects.Dec()
		defer h.suspect.Store(false)
		for f.dead(ctx, m, node) && wait(ctx, pace{suspectPace, suspectPace}.nth(1)) == nil {
			// Its address may have changed, or it is gone.
			if m = f.source.Map(); m.Node(node) == nil {
				return
			}
		}
	}) {
		f.metrics.suspects.Dec()
		h.suspect.Store(false)
	}
}

// dead asks a node for a sign of life.
func (f *fanout) dead(ctx context.Context, m *clusterv1.Map, node string) bool {
	var err error
	func() {
		defer f.recover("Hello", &err)
		limited, cancel := context.WithTimeout(ctx, suspectPace)
		defer cancel()
		client, fault := nodeClient(f.nodes, m, node)
		if fault != nil {
			err = fault
			return
		}
		_, err = client.Hello(limited, &nodev1.HelloRequest{})
	}()
	switch asStatus(err).Code() {
	case codes.OK, codes.Unimplemented:
		f.log.Info("a node that did not answer a call lives", zap.String("node", node))
		return false
	}
	return true
}
