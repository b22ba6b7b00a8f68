package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/config"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// greeted is a node that answered.
type greeted struct {
	// As it was given on the command line.
	address string
	hello   *nodev1.HelloResponse
}

func (g greeted) id() string { return g.hello.GetNode().GetNodeId() }

// founding is what to do about the nodes that were given.
type founding struct {
	clusterID string
	// Nil if the cluster is complete.
	layout *clusterv1.RangeMap
	// Nodes that are not founded yet.
	rest []greeted
	// An earlier founding goes on.
	again bool
}

// planFounding decides: a new cluster, the rest of a founding that was begun, or
// nothing. It refuses what would harm a cluster that exists.
func planFounding(nodes []greeted, fresh func([]*clusterv1.Node) (*clusterv1.RangeMap, error)) (founding, error) {
	if err := checkNodes(nodes); err != nil {
		return founding{}, err
	}
	var rest, members []greeted
	for _, node := range nodes {
		if node.hello.GetClusterId() == "" {
			rest = append(rest, node)
		} else {
			members = append(members, node)
		}
	}
	if len(members) == 0 {
		records := make([]*clusterv1.Node, len(nodes))
		for i, node := range nodes {
			records[i] = node.hello.GetNode()
		}
		layout, err := fresh(records)
		return founding{clusterID: layout.GetCluster().GetClusterId(), layout: layout, rest: rest}, err
	}
	cluster := members[0].hello.GetClusterId()
	for _, node := range members[1:] {
		if other := node.hello.GetClusterId(); other != cluster {
			return founding{}, fmt.Errorf("the nodes belong to different clusters, nothing was changed: %s to %s, %s to %s", members[0].address, cluster, node.address, other)
		}
	}
	layout := begun(members)
	if err := checkBegun(cluster, layout, nodes, rest); err != nil {
		return founding{}, err
	}
	return founding{clusterID: cluster, layout: layout, rest: rest, again: true}, nil
}

// begun is the map that a founding began with, or nil.
func begun(members []greeted) *clusterv1.RangeMap {
	for _, node := range members {
		if layout := node.hello.GetFounding(); layout.GetCluster().GetClusterId() == node.hello.GetClusterId() {
			return layout
		}
	}
	return nil
}

// checkBegun demands that the nodes are exactly those of a cluster, or of its
// founding.
func checkBegun(cluster string, layout *clusterv1.RangeMap, nodes, rest []greeted) error {
	known, what := layout.GetNodes(), "was founded with"
	if layout == nil {
		known, what = knownNodes(nodes), "has"
	}
	for _, node := range nodes {
		if slices.ContainsFunc(known, func(n *clusterv1.Node) bool { return n.GetNodeId() == node.id() }) {
			continue
		}
		for _, n := range known {
			if n.GetApiAddress() == node.hello.GetNode().GetApiAddress() && node.hello.GetClusterId() == "" {
				return fmt.Errorf("%s is node %s now, but cluster %s %s node %s there: its data folder was lost or replaced; start it on the right one, or let it join as a new node with -join",
					node.address, node.id(), cluster, what, n.GetNodeId())
			}
		}
		if node.hello.GetClusterId() == "" {
			return fmt.Errorf("cluster %s exists, and %s is not one of the nodes it %s: start that one with -join instead, it enters the cluster by itself", cluster, node.address, what)
		}
		return fmt.Errorf("cluster %s exists, and %s entered it later: nothing is to be founded", cluster, node.address)
	}
	var missing []string
	for _, n := range known {
		if !slices.ContainsFunc(nodes, func(g greeted) bool { return g.id() == n.GetNodeId() }) {
			missing = append(missing, n.GetApiAddress())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("cluster %s exists and %s more nodes than were given: %s; name exactly its nodes to complete its founding", cluster, what, strings.Join(missing, ", "))
	}
	if layout == nil && len(rest) > 0 {
		return fmt.Errorf("cluster %s exists: start %s with -join instead, it enters the cluster by itself", cluster, rest[0].address)
	}
	return nil
}

// knownNodes joins what the nodes know of each other, without what is gone.
func knownNodes(nodes []greeted) []*clusterv1.Node {
	youngest := map[string]*clusterv1.Node{}
	for _, node := range nodes {
		if node.hello.GetClusterId() == "" {
			continue
		}
		for _, record := range append(node.hello.GetNodes(), node.hello.GetNode()) {
			if !record.Gone() {
				youngest[record.GetNodeId()] = clusterv1.Newer(youngest[record.GetNodeId()], record)
			}
		}
	}
	var all []*clusterv1.Node
	for _, record := range youngest {
		all = append(all, record)
	}
	slices.SortFunc(all, func(a, b *clusterv1.Node) int { return cmp.Compare(a.GetNodeId(), b.GetNodeId()) })
	return all
}

// checkNodes demands nodes that can work together.
func checkNodes(nodes []greeted) error {
	ids, apis, rafts := map[string]string{}, map[string]string{}, map[string]string{}
	for _, node := range nodes {
		record := node.hello.GetNode()
		if record.GetNodeId() == "" || record.GetRaftAddress() == "" || record.GetApiAddress() == "" {
			return fmt.Errorf("%s does not say who it is: it cannot be a node of this release", node.address)
		}
		if !record.WorksWith(clusterv1.FirstFormat) {
			return fmt.Errorf("%s runs release %s, which does not work with a new cluster of this one: install the same release everywhere", node.address, record.GetVersion())
		}
		if before, twice := ids[record.GetNodeId()]; twice {
			return fmt.Errorf("%s and %s are the same node %s: each node needs a data folder of its own, none copied from another", before, node.address, record.GetNodeId())
		}
		if before, twice := rafts[record.GetRaftAddress()]; twice {
			return fmt.Errorf("%s and %s both tell others that their Raft address is %s: start each with a -raft.address of its own that the others can dial", before, node.address, record.GetRaftAddress())
		}
		if before, twice := apis[record.GetApiAddress()]; twice {
			return fmt.Errorf("%s and %s both tell others that their address is %s: start each with a -node.address of its own that the others can dial", before, node.address, record.GetApiAddress())
		}
		ids[record.GetNodeId()], rafts[record.GetRaftAddress()], apis[record.GetApiAddress()] = node.address, node.address, node.address
		if len(nodes) > 1 && !config.OnLoopback(node.address) && (config.OnLoopback(record.GetApiAddress()) || config.OnLoopback(record.GetRaftAddress())) {
			return fmt.Errorf("%s tells others to dial %s and %s, which lead to themselves: start it with -node.address and -raft.address that the others can dial", node.address, record.GetApiAddress(), record.GetRaftAddress())
		}
	}
	return nil
}

// errFounders says how many nodes can found a cluster.
var errFounders = errors.New("a cluster is founded with 1, 3 or 5 nodes; others join it later: skerry node -join")

func checkAddresses(addresses []string) error {
	if n := len(addresses); n == 0 || n > foundersMax || n%2 == 0 {
		return fmt.Errorf("%d nodes were given: %w", n, errFounders)
	}
	for i, address := range addresses {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return fmt.Errorf("%q: want HOST:PORT, as others reach -node.address of a node", address)
		}
		if slices.Contains(addresses[:i], address) {
			return fmt.Errorf("%s was given twice", address)
		}
	}
	return nil
}
