package shardgroup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/statemachine"
)

const (
	// A look at the local replica of the directory although nothing was told.
	followInterval = 5 * time.Second
	// Pause before another node is asked for the map.
	followRetry = 500 * time.Millisecond
)

// followMap keeps the node's copy of the map: from its own replica of the
// directory, or else by watching a node that has one. The copy may be late; it
// never goes back.
func (n *Node) followMap(ctx context.Context) {
	for ctx.Err() == nil {
		if g := n.group(clusterv1.DirectoryGroup); g != nil {
			n.followLocal(ctx, g)
			continue
		}
		if err := n.followRemote(ctx); err != nil && ctx.Err() == nil {
			n.log.Debug("cannot watch the map", zap.Error(err))
			pause(ctx, followRetry)
		}
	}
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// followLocal looks at the local replica once, and waits for the next change.
func (n *Node) followLocal(ctx context.Context, g *Group) {
	if answer, err := g.ReadStale(statemachine.ReadMap{}); err == nil {
		if m := answer.(*clusterv1.RangeMap); m != nil {
			n.takeMap(m)
		}
	}
	select {
	case <-ctx.Done():
	case <-n.directoryApplied:
	case <-time.After(followInterval):
	}
}

// takeMap makes a map the node's, if it is younger.
func (n *Node) takeMap(m *clusterv1.RangeMap) {
	if m.GetCluster().GetClusterId() != n.ClusterID() {
		n.log.Error("got the map of another cluster", zap.String("cluster", m.GetCluster().GetClusterId()))
		return
	}
	before := n.maps.version()
	if err := n.maps.offer(m); err != nil {
		n.log.Error("cannot use the map", zap.Uint64("version", m.GetCluster().GetMapVersion()), zap.Error(err))
		return
	}
	if n.maps.version() != before {
		n.book.learn(m.GetNodes()...)
		n.metrics.mapVersion.Set(float64(n.maps.version()))
		wake(n.kick)
	}
}

// followRemote watches another node until that ends, or this node has a replica
// of the directory.
func (n *Node) followRemote(ctx context.Context) error {
	address := n.someAddress()
	if address == "" {
		return fmt.Errorf("%w: no other node is known", ErrNotReady)
	}
	client, err := n.options.Peers(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.background.Go(func() {
		n.untilDirectory(ctx)
		cancel()
	})
	current := n.maps.known()
	stream, err := client.WatchMap(ctx, &nodev1.WatchMapRequest{Version: n.maps.version()})
	if err != nil {
		return err
	}
	for {
		update, err := stream.Recv()
		if err != nil {
			return err
		}
		m := update.GetSnapshot()
		if delta := update.GetDelta(); delta != nil {
			if current == nil {
				return fmt.Errorf("%s sends changes of a map that it never sent", address)
			}
			if m, err = clusterv1.Apply(current.Proto(), delta); err != nil {
				return err
			}
		}
		if id := m.GetCluster().GetClusterId(); id != n.ClusterID() {
			return fmt.Errorf("%w: %s sends the map of cluster %q", ErrOtherCluster, address, id)
		}
		n.takeMap(m)
		current = n.maps.known()
	}
}

// untilDirectory returns when this node has a replica of the directory, or the
// context ends.
func (n *Node) untilDirectory(ctx context.Context) {
	for ctx.Err() == nil && n.group(clusterv1.DirectoryGroup) == nil {
		pause(ctx, followRetry)
	}
}

// someAddress picks a node to ask: one with a replica of the directory if the map
// tells, else any that is known, or that the settings name.
func (n *Node) someAddress() string {
	addresses := n.directoryAddresses()
	if len(addresses) == 0 || rand.IntN(4) == 0 {
		addresses = append(addresses, n.allAddresses()...)
	}
	if len(addresses) == 0 {
		return ""
	}
	return addresses[rand.IntN(len(addresses))]
}

// directoryAddresses returns where other nodes with a replica of the directory are,
// in random order, so that one that hangs does not always come first.
func (n *Node) directoryAddresses() []string {
	m := n.maps.known()
	if m == nil {
		return nil
	}
	var addresses []string
	for _, replica := range m.Group(clusterv1.DirectoryGroup).GetReplicas() {
		if address := n.book.api(replica.GetNodeId()); address != "" && replica.GetNodeId() != n.record.GetNodeId() {
			addresses = append(addresses, address)
		}
	}
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	return addresses
}

// allAddresses returns where other nodes are, as far as known, and those that the
// settings name.
func (n *Node) allAddresses() []string {
	var addresses []string
	seen := map[string]bool{n.options.APIAddress: true, "": true}
	add := func(address string) {
		if !seen[address] {
			seen[address] = true
			addresses = append(addresses, address)
		}
	}
	for _, node := range n.book.all() {
		add(node.GetApiAddress())
	}
	for _, address := range n.options.Join {
		add(address)
	}
	return addresses
}
