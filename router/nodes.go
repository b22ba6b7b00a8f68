package router

import (
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Nodes finds the client of a node by its id. It is called for every attempt,
// from any number of goroutines, and must not block: it returns a client of the
// same process, or one over a connection that is kept and re-dialled elsewhere.
// An error counts as a node that does not answer.
type Nodes interface {
	NodeClient(nodeID string) (nodev1.NodeServiceClient, error)
}

// Seeds are the nodes that a router without a map asks for one. It may return
// others each time (say, after a lookup), and must not block.
type Seeds func() []nodev1.NodeServiceClient

// StaticSeeds always returns the same clients.
func StaticSeeds(clients ...nodev1.NodeServiceClient) Seeds {
	return func() []nodev1.NodeServiceClient { return clients }
}
