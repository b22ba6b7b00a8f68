package router

import (
	"cmp"
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// lettersBudget bounds a call about dead letters: the object store is asked some
// hundred times.
const lettersBudget = time.Minute

// lettersNodeBudget bounds what one node may take, before another one is asked.
const lettersNodeBudget = 20 * time.Second

// GetDLQStatus asks all nodes. One that cannot be asked is listed with the reason.
func (s *adminService) GetDLQStatus(ctx context.Context, _ *adminv1.GetDLQStatusRequest) (*adminv1.GetDLQStatusResponse, error) {
	m, err := s.currentMap(ctx, "GetDLQStatus")
	if err != nil {
		return nil, err
	}
	response := &adminv1.GetDLQStatusResponse{}
	for _, a := range everyNode(ctx, s.router, m, "GetDLQStatus", func(ctx context.Context, node nodev1.NodeServiceClient) (*nodev1.GetDLQStatusResponse, error) {
		return node.GetDLQStatus(ctx, &nodev1.GetDLQStatusRequest{})
	}) {
		response.Nodes = append(response.Nodes, &adminv1.NodeDLQ{NodeId: a.node, Status: a.answer, Error: a.fault})
	}
	return response, nil
}

// ListDLQ lists what is in the object store, as some node sees it.
func (s *adminService) ListDLQ(ctx context.Context, request *adminv1.ListDLQRequest) (*adminv1.ListDLQResponse, error) {
	answer, err := someNode(ctx, s, "ListDLQ", func(ctx context.Context, node nodev1.NodeServiceClient) (*nodev1.ListDLQResponse, error) {
		return node.ListDLQ(ctx, request.GetList())
	})
	return &adminv1.ListDLQResponse{List: answer}, err
}

// GetDLQEntry shows one entry.
func (s *adminService) GetDLQEntry(ctx context.Context, request *adminv1.GetDLQEntryRequest) (*adminv1.GetDLQEntryResponse, error) {
	answer, err := someNode(ctx, s, "GetDLQEntry", func(ctx context.Context, node nodev1.NodeServiceClient) (*nodev1.GetDLQEntryResponse, error) {
		return node.GetDLQEntry(ctx, &nodev1.GetDLQEntryRequest{Key: request.GetKey()})
	})
	return &adminv1.GetDLQEntryResponse{Entry: answer}, err
}

// RetryDLQ moves entries back, and once that is done tells all nodes to look.
func (s *adminService) RetryDLQ(ctx context.Context, request *adminv1.RetryDLQRequest) (*adminv1.RetryDLQResponse, error) {
	retry, response := request.GetRetry(), &adminv1.RetryDLQResponse{Outcome: &nodev1.RetryDLQResponse{}}
	if retry.GetAll() || len(retry.GetKeys()) > 0 {
		answer, err := someNode(ctx, s, "RetryDLQ", func(ctx context.Context, node nodev1.NodeServiceClient) (*nodev1.RetryDLQResponse, error) {
			return node.RetryDLQ(ctx, retry)
		})
		if err != nil {
			return nil, err
		}
		response.Outcome = answer
	}
	if retry.GetDryRun() || response.GetOutcome().GetNext() != "" {
		return response, nil
	}
	m, err := s.currentMap(ctx, "RetryDLQ")
	if err != nil {
		return nil, err
	}
	for _, a := range everyNode(ctx, s.router, m, "SweepDLQ", func(ctx context.Context, node nodev1.NodeServiceClient) (*nodev1.SweepDLQResponse, error) {
		return node.SweepDLQ(ctx, &nodev1.SweepDLQRequest{})
	}) {
		if a.fault != "" {
			response.SilentNodes = append(response.SilentNodes, a.node+": "+a.fault)
			continue
		}
		response.Nodes++
		response.Groups += a.answer.GetGroups()
	}
	return response, nil
}

// PurgeDLQ deletes rejected entries.
func (s *adminService) PurgeDLQ(ctx context.Context, request *adminv1.PurgeDLQRequest) (*adminv1.PurgeDLQResponse, error) {
	answer, err := someNode(ctx, s, "PurgeDLQ", func(ctx context.Context, node nodev1.NodeServiceClient) (*nodev1.PurgeDLQResponse, error) {
		return node.PurgeDLQ(ctx, request.GetPurge())
	})
	return &adminv1.PurgeDLQResponse{Outcome: answer}, err
}

func (s *adminService) currentMap(ctx context.Context, name string) (*clusterv1.Map, error) {
	inner, cancel := context.WithTimeout(ctx, s.router.options.GetBlocksBudget)
	defer cancel()
	m, err := s.router.source.Await(inner)
	if err != nil {
		return nil, s.router.fanout.ended(ctx, inner, name, err)
	}
	return m, nil
}

// askNode makes one call of a node; what panics in it is an error.
func askNode[A any](ctx context.Context, r *Router, node *clusterv1.Node, name string, call func(context.Context, nodev1.NodeServiceClient) (A, error)) (answer A, err error) {
	defer r.fanout.recover(name, &err)
	client, err := r.fanout.nodes.NodeClient(node)
	if err != nil {
		return answer, status.Error(codes.Unavailable, err.Error())
	}
	return call(ctx, client)
}

// presentNodes lists the nodes that may be asked.
func presentNodes(m *clusterv1.Map) []*clusterv1.Node {
	var nodes []*clusterv1.Node
	for _, node := range m.Proto().GetNodes() {
		if !node.Gone() {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// someNode asks one node after the other, until one does it: they share the object
// store. Nodes that have none, or do not answer, are passed over; the calls may be
// repeated. What another one says counts.
func someNode[A any](ctx context.Context, s *adminService, name string, call func(context.Context, nodev1.NodeServiceClient) (A, error)) (A, error) {
	var none A
	m, err := s.currentMap(ctx, name)
	if err != nil {
		return none, err
	}
	inner, cancel := context.WithTimeout(ctx, lettersBudget)
	defer cancel()
	last := status.Error(codes.FailedPrecondition, "no node is known")
	for _, node := range presentNodes(m) {
		deadline, _ := inner.Deadline()
		limited, stop := context.WithTimeout(inner, min(lettersNodeBudget, time.Until(deadline)/2))
		answer, err := askNode(limited, s.router, node, name, call)
		late := limited.Err() != nil
		stop()
		if err == nil {
			return answer, nil
		}
		if inner.Err() != nil {
			return none, s.router.fanout.ended(ctx, inner, name, err)
		}
		told := asStatus(err)
		switch code := told.Code(); {
		case late:
			last = status.Errorf(codes.Unavailable, "node %s does not answer", node.GetNodeId())
		case code == codes.FailedPrecondition, code == codes.Unavailable, code == codes.Unimplemented:
			last = status.Error(code, told.Message())
		default:
			return none, status.Error(told.Code(), told.Message())
		}
	}
	return none, last
}

type nodeAnswer[A any] struct {
	node   string
	answer A
	fault  string
}

// everyNode asks all nodes at the same time; the answers are in the map's order.
func everyNode[A any](ctx context.Context, r *Router, m *clusterv1.Map, name string, call func(context.Context, nodev1.NodeServiceClient) (A, error)) []nodeAnswer[A] {
	nodes := presentNodes(m)
	var (
		all     sync.WaitGroup
		answers = make([]nodeAnswer[A], len(nodes))
		slots   = make(chan struct{}, r.options.FanOut)
	)
	for i, node := range nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			limited, cancel := context.WithTimeout(ctx, statusTimeout)
			defer cancel()
			answer, err := askNode(limited, r, node, name, call)
			answers[i] = nodeAnswer[A]{node: node.GetNodeId(), answer: answer}
			if err != nil {
				answers[i].fault = cmp.Or(asStatus(err).Message(), "no reason given")
			}
		})
	}
	all.Wait()
	return answers
}
