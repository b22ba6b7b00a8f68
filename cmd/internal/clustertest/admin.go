package clustertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// attemptTimeout bounds a question to one node: it may be stopped.
const attemptTimeout = 1500 * time.Millisecond

// dial connects to a node, past the network's faults.
func (c *Cluster) dial(address string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.conns[address]; conn != nil {
		return conn, nil
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(100<<20)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 300 * time.Millisecond}, MinConnectTimeout: time.Second,
		}))
	if err == nil {
		c.conns[address] = conn
	}
	return conn, err
}

// NodeClient is the node API of a node, past the network's faults.
func (c *Cluster) NodeClient(n *Node) (nodev1.NodeServiceClient, error) {
	conn, err := c.dial(n.API())
	if err != nil {
		return nil, err
	}
	return nodev1.NewNodeServiceClient(conn), nil
}

// ID is the node id that a running node has now.
func (c *Cluster) ID(ctx context.Context, n *Node) (string, error) {
	client, err := c.NodeClient(n)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	answer, err := client.Hello(ctx, &nodev1.HelloRequest{})
	return answer.GetNode().GetNodeId(), err
}

// asked asks the admin API of nodes that run, in turn, until one answers or
// refuses, or the context ends.
func (c *Cluster) asked(ctx context.Context, call func(context.Context, adminv1.AdminServiceClient) error) error {
	last := errors.New("no node runs")
	for {
		for _, at := range rand.Perm(len(c.Nodes)) {
			n := c.Nodes[at]
			if !n.Process.Running() {
				continue
			}
			conn, err := c.dial(n.API())
			if err != nil {
				return err
			}
			attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
			err = call(attempt, adminv1.NewAdminServiceClient(conn))
			cancel()
			switch status.Code(err) {
			case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
				last = fmt.Errorf("%s: %w", n.Name, err)
			default:
				return err
			}
			if ctx.Err() != nil {
				return last
			}
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// State is the cluster as the directory's leader sees it.
func (c *Cluster) State(ctx context.Context) (*nodev1.ClusterStateResponse, error) {
	var answer *adminv1.ClusterStateResponse
	err := c.asked(ctx, func(ctx context.Context, admin adminv1.AdminServiceClient) (err error) {
		answer, err = admin.ClusterState(ctx, &adminv1.ClusterStateRequest{})
		return err
	})
	return answer.GetState(), err
}

// Operate changes the cluster. What nobody answered is asked again, as another
// request.
func (c *Cluster) Operate(ctx context.Context, operation *nodev1.OperateRequest) (*nodev1.OperateResponse, error) {
	var answer *adminv1.OperateResponse
	err := c.asked(ctx, func(ctx context.Context, admin adminv1.AdminServiceClient) (err error) {
		answer, err = admin.Operate(ctx, &adminv1.OperateRequest{Operation: operation})
		return err
	})
	return answer.GetOutcome(), err
}
