package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const initDetail = `Start the first nodes, 1, 3 or 5, with skerry node. They wait until this command
makes them a cluster, once. If it is interrupted, repeat it: it goes on with what
was begun. It never founds a cluster where there is one.

Where callers have roles it takes the role node, as nodes themselves do.

With 1 node a cluster is as good as its disk. Nodes that come later join by
themselves: skerry node -join.
`

func initCommand() command {
	return command{
		name: "init", summary: "found a cluster with the nodes that wait for one", detail: initDetail,
		setup: func(set *flag.FlagSet) action {
			i := &initialization{now: time.Now, pause: pollPause}
			i.client.timeout = 10 * time.Second
			set.StringVar(&i.nodes, "nodes", "", "`HOST:PORT,...` addresses of all founding nodes (-node.address of each, as the others reach it)")
			set.IntVar(&i.groups, "groups", 4, "`N` number of data groups, 1 to 1024")
			set.IntVar(&i.streamGroups, "streams.groups", 0, "`N` number of groups that share the streams, up to all of them; 0 is automatic: 1, or 2 from 8 groups up")
			set.IntVar(&i.replicationFactor, "replication-factor", 3, "`N` replicas of each data group, if there are as many nodes: 1, 3 or 5")
			set.BoolVar(&i.wait, "wait", true, "wait until all nodes serve")
			set.DurationVar(&i.waitTimeout, "wait-timeout", 2*time.Minute, "`DURATION` how long to wait for that, and for each node to take its part")
			set.DurationVar(&i.client.timeout, "timeout", 10*time.Second, "`DURATION` how long to try to reach each node")
			i.client.security.declare(set)
			return i.run
		},
	}
}

// initialization is one run of the command.
type initialization struct {
	client                                  client
	nodes                                   string
	groups, streamGroups, replicationFactor int
	wait                                    bool
	waitTimeout                             time.Duration

	now   func() time.Time
	pause func(context.Context) error
}

func (i *initialization) run(ctx context.Context, std streams, args []string) error {
	addresses, err := i.check(args)
	if err != nil {
		return err
	}
	peers, err := dialPeers(i.client, addresses)
	if err != nil {
		return err
	}
	defer peers.close()
	nodes, err := i.greetAll(ctx, std.out, peers)
	if err != nil {
		return err
	}
	plan, err := planFounding(nodes, i.layout)
	if err != nil {
		return err
	}
	if plan.again && len(plan.rest) == 0 {
		_, err := fmt.Fprintf(std.out, "\nThese nodes are already cluster %s: nothing to do.\n", plan.clusterID)
		return err
	}
	if err := i.found(ctx, std.out, peers, plan); err != nil {
		return err
	}
	if i.wait {
		if err := i.awaitReady(ctx, std.out, peers); err != nil {
			return err
		}
	}
	return nextSteps(std.out, nodes)
}

// check returns the addresses.
func (i *initialization) check(args []string) ([]string, error) {
	if len(args) > 0 {
		return nil, flags.Usagef("unexpected argument %q", args[0])
	}
	if i.nodes == "" {
		return nil, flags.Usagef("-nodes is missing: want the addresses of the founding nodes, HOST:PORT,...")
	}
	addresses := strings.Split(i.nodes, ",")
	for at := range addresses {
		addresses[at] = strings.TrimSpace(addresses[at])
	}
	if err := checkAddresses(addresses); err != nil {
		return nil, flags.Usagef("-nodes: %w", err)
	}
	if i.groups < 1 || i.groups > 1024 {
		return nil, flags.Usagef("-groups is %d: want 1 to 1024", i.groups)
	}
	if i.streamGroups < 0 || i.streamGroups > i.groups {
		return nil, flags.Usagef("-streams.groups is %d: want 0 to %d", i.streamGroups, i.groups)
	}
	if i.replicationFactor < 1 || i.replicationFactor > foundersMax || i.replicationFactor%2 == 0 {
		return nil, flags.Usagef("-replication-factor is %d: want 1, 3 or 5: an even number tolerates no more failures than one less", i.replicationFactor)
	}
	if i.client.timeout <= 0 || i.waitTimeout <= 0 {
		return nil, flags.Usagef("-timeout and -wait-timeout: want more than 0")
	}
	return addresses, nil
}

// greetAll learns who the nodes are.
func (i *initialization) greetAll(ctx context.Context, out io.Writer, peers *peers) ([]greeted, error) {
	nodes := make([]greeted, len(peers.all))
	for at, peer := range peers.all {
		err := i.persist(ctx, peer, "Hello", i.client.timeout, func(ctx context.Context) (err error) {
			nodes[at].hello, err = peer.node.Hello(ctx, &nodev1.HelloRequest{})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%w; nothing was changed", err)
		}
		nodes[at].address = peer.address
		record := nodes[at].hello.GetNode()
		line := fmt.Sprintf("%s is node %s", peer.address, record.GetNodeId())
		if record.GetZone() != "" {
			line += " in zone " + record.GetZone()
		}
		if _, err := fmt.Fprintln(out, oneLine(line)); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// layout is that of a new cluster.
func (i *initialization) layout(nodes []*clusterv1.Node) (*clusterv1.RangeMap, error) {
	created := i.now().UnixNano()
	for _, node := range nodes {
		node.State, node.JoinedAt, node.StateSince = clusterv1.NodeState_NODE_STATE_UP, created, created
	}
	streams := i.streamGroups
	if streams == 0 {
		streams = clusterv1.DefaultStreamGroups(i.groups)
	}
	return layoutCluster(clusterv1.InitialLayout{
		ClusterID: uuid.NewString(), Node: nodes[0], Peers: nodes[1:],
		Groups: i.groups, StreamGroups: streams, CreatedAt: created,
	}, i.replicationFactor)
}

// found tells each node, one after the other, what it is part of.
func (i *initialization) found(ctx context.Context, out io.Writer, peers *peers, plan founding) error {
	m := plan.layout
	first := "founding"
	if plan.again {
		first = "going on with the founding of"
	}
	if _, err := fmt.Fprintf(out, "\n%s cluster %s: %d nodes, %d data groups of %d replicas\n", first, plan.clusterID,
		len(m.GetNodes()), len(m.GetGroups())-1, replicasOf(m)); err != nil {
		return err
	}
	for _, node := range plan.rest {
		peer := peers.at(node.address)
		// It answers when its replicas have been made, which many groups or a busy disk
		// make long.
		err := i.persist(ctx, peer, "Found", i.waitTimeout, func(ctx context.Context) error {
			_, err := peer.node.Found(ctx, &nodev1.FoundRequest{Map: m, NodeId: node.id()})
			return err
		})
		if err != nil {
			return fmt.Errorf("%w; the founding is not complete: repeat this command", err)
		}
		if _, err := fmt.Fprintf(out, "%s is part of it\n", node.address); err != nil {
			return err
		}
	}
	return nil
}

// replicasOf is the number of replicas of a data group.
func replicasOf(m *clusterv1.RangeMap) int {
	groups := m.GetGroups()
	return len(groups[len(groups)-1].GetReplicas())
}

// persist repeats a harmless call while the node is not there, for a while. Once
// it is, it has the patience for its answer.
func (i *initialization) persist(ctx context.Context, peer *peer, what string, patience time.Duration, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	reach, stop := context.WithTimeout(limited, i.client.timeout)
	defer stop()
	for {
		err := call(limited)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errInterrupted
		}
		if s := status.Convert(err); s.Code() != codes.Unavailable || i.pause(reach) != nil {
			return &peerError{peer.address, what, s, patience}
		}
	}
}

func nextSteps(out io.Writer, nodes []greeted) error {
	var join []string
	for _, node := range nodes {
		join = append(join, node.hello.GetNode().GetApiAddress())
	}
	all := strings.Join(join, ",")
	_, err := fmt.Fprintf(out, `
Next:

  skerry status -addr %s
  skerry router -join %s     (serves clients; or give nodes a -grpc.address)
  skerry node -join %s ...   (adds a node, on another machine)
`, nodes[0].address, all, all)
	return err
}
