package router

import (
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Nodes finds the client of a node by its record, which comes from the router's
// map. It is called for every attempt, from any number of goroutines, and must
// not block: it returns a client of the same process, or one over a connection
// that is kept and re-dialled elsewhere (see Pool). An error counts as a node
// that does not answer.
type Nodes interface {
	NodeClient(node *clusterv1.Node) (nodev1.NodeServiceClient, error)
}

// nodeClient finds a node of a map.
func nodeClient(nodes Nodes, m *clusterv1.Map, id string) (nodev1.NodeServiceClient, error) {
	node := m.Node(id)
	if node == nil {
		return nil, fmt.Errorf("node %s is not in the map", id)
	}
	return nodes.NodeClient(node)
}

// tidier is implemented by Nodes that keep what belongs to nodes of the map. It
// is called now and then.
type tidier interface{ retain(m *clusterv1.Map) }

// homed is implemented by Nodes that may have a node in the same process, with a
// client then: its map is the cheapest to watch.
type homed interface {
	home() (nodeID string, client nodev1.NodeServiceClient)
}

// Seeds are the nodes that a router without a map asks for one. It may return
// others each time (say, after a lookup), and must not block.
type Seeds func() []nodev1.NodeServiceClient

// StaticSeeds always returns the same clients.
func StaticSeeds(clients ...nodev1.NodeServiceClient) Seeds {
	return func() []nodev1.NodeServiceClient { return clients }
}
