package router

import (
	"context"
	"time"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// statusTimeout bounds asking one node for its status.
const statusTimeout = 2 * time.Second

type adminService struct {
	adminv1.UnimplementedAdminServiceServer
	router *Router
}

// Status describes the cluster. A node that cannot be asked is listed with the
// reason: an operator looks at a broken cluster, too.
func (s *adminService) Status(ctx context.Context, _ *adminv1.StatusRequest) (*adminv1.StatusResponse, error) {
	inner, cancel := context.WithTimeout(ctx, s.router.options.GetBlocksBudget)
	defer cancel()
	m, err := s.router.source.Await(inner)
	if err != nil {
		return nil, s.router.fanout.ended(ctx, inner, "Status", err)
	}
	return &adminv1.StatusResponse{Version: s.router.options.Version, Map: m.Proto(), Nodes: s.askAll(inner, m)}, nil
}

func (s *adminService) ask(ctx context.Context, node *clusterv1.Node) (replicas []*nodev1.GroupReplica, err error) {
	defer s.router.fanout.recover("Status", &err)
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	client, err := s.router.fanout.nodes.NodeClient(node)
	if err != nil {
		return nil, err
	}
	answer, err := client.GroupStatus(ctx, &nodev1.GroupStatusRequest{})
	return answer.GetReplicas(), err
}
