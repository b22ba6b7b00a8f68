package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	statePoll     = 20 * time.Millisecond
	stateAttempt  = 2 * time.Second
	stateBytesMax = 100 << 20
)

// state is the cluster as its directory sees it, asked of nodes that run until one knows.
func (c *Cluster) state(ctx context.Context) (*nodev1.ClusterStateResponse, error) {
	last := errors.New("no node runs")
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		state, err := n.state(ctx)
		if err == nil {
			return state, nil
		}
		last = fmt.Errorf("%s: %w", n.name, err)
	}
	return nil, last
}

func (n *node) state(ctx context.Context) (*nodev1.ClusterStateResponse, error) {
	conn, err := grpc.NewClient("passthrough:///"+n.api, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(stateBytesMax)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, stateAttempt)
	defer cancel()
	answer, err := adminv1.NewAdminServiceClient(conn).ClusterState(ctx, &adminv1.ClusterStateRequest{})
	return answer.GetState(), err
}

// await looks at the cluster until something is so.
func (c *Cluster) await(ctx context.Context, what string, is func(*nodev1.ClusterStateResponse) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not within %s: %s", startLimit, what))
	defer cancel()
	for {
		state, err := c.state(ctx)
		if err == nil && is(state) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(statePoll):
		}
	}
}

// Leader is the index of the node that leads most of the groups that segments are added to. It waits until each of them
// has a leader that lives.
func (c *Cluster) Leader(ctx context.Context) (at int, err error) {
	err = c.await(ctx, "each group has a leader", func(state *nodev1.ClusterStateResponse) bool {
		streams := map[uint64]bool{}
		for _, r := range state.GetMap().GetRanges() {
			if r.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
				streams[r.GetGroupId()] = true
			}
		}
		led, all := map[string]int{}, 0
		for _, live := range state.GetNodes() {
			for _, replica := range live.GetReport().GetReplicas() {
				if live.GetAlive() && streams[replica.GetGroupId()] && replica.GetLeaderReplicaId() == replica.GetReplicaId() {
					led[live.GetReport().GetNode().GetApiAddress()]++
					all++
				}
			}
		}
		most := 0
		for i, n := range c.nodes {
			if led[n.api] > most {
				at, most = i, led[n.api]
			}
		}
		return all >= len(streams) && most > 0
	})
	return at, err
}

// Replace gives up the last node, whose process is killed and whose data are removed, and has a new one take its
// place. It returns when the new one has caught up: all replicas are voters there, and the old node is removed.
func (c *Cluster) Replace(ctx context.Context) error {
	if c.options.Nodes == 1 {
		return errors.New("a single server cannot be replaced")
	}
	old := c.nodes[len(c.nodes)-1]
	id := ""
	find := func(state *nodev1.ClusterStateResponse) bool {
		for _, record := range state.GetMap().GetNodes() {
			if record.GetApiAddress() == old.api && record.GetState() != clusterv1.NodeState_NODE_STATE_REMOVED {
				id = record.GetNodeId()
			}
		}
		return id != ""
	}
	if err := c.await(ctx, old.name+" is a member", find); err != nil {
		return err
	}
	if err := errors.Join(old.kill(), old.remove()); err != nil {
		return err
	}
	fresh, err := c.addNode()
	if err != nil {
		return err
	}
	fresh.args = append(fresh.args, "-join", c.join())
	if err := fresh.start(); err != nil {
		return err
	}
	// As soon as it is a member there is a place for replicas.
	if err := fresh.ready(ctx); err != nil {
		return fmt.Errorf("%s: %w", fresh.name, err)
	}
	if err := c.command(ctx, "replace", id, "-force", "-addr", c.nodes[0].public); err != nil {
		return err
	}
	c.forget(old)
	return c.await(ctx, old.name+" is removed", func(state *nodev1.ClusterStateResponse) bool {
		for _, record := range state.GetMap().GetNodes() {
			if record.GetNodeId() == id {
				return record.GetState() == clusterv1.NodeState_NODE_STATE_REMOVED
			}
		}
		return true
	})
}
