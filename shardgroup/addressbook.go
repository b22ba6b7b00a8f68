package shardgroup

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// addressesMax bounds the book: more nodes than a cluster can ever have had at a time.
const addressesMax = 4096

// addressBook knows where nodes are: from the map, and from nodes that said so
// themselves. The directory cannot be the only source: its replicas must find
// each other before it can be asked, also if all of them moved. Safe for
// concurrent use.
type addressBook struct {
	self     string
	registry *registry

	mu    sync.Mutex
	nodes map[string]*clusterv1.Node
}

// newAddressBook knows the node itself, whose addresses are its settings.
func newAddressBook(self *clusterv1.Node, registry *registry) *addressBook {
	registry.setAddress(self.GetNodeId(), self.GetRaftAddress())
	return &addressBook{self: self.GetNodeId(), registry: registry, nodes: map[string]*clusterv1.Node{self.GetNodeId(): self}}
}

// learn takes addresses that are younger than those at hand.
func (b *addressBook) learn(nodes ...*clusterv1.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, node := range nodes {
		id := node.GetNodeId()
		known := b.nodes[id]
		if id == "" || node.GetRaftAddress() == "" || id == b.self || known != nil && known.GetBoots() > node.GetBoots() || known == nil && len(b.nodes) >= addressesMax {
			continue
		}
		b.nodes[id] = node
		if address := node.GetRaftAddress(); address != known.GetRaftAddress() {
			b.registry.setAddress(id, address)
		}
	}
}

// all returns what is known of all nodes, in order of their ids.
func (b *addressBook) all() []*clusterv1.Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.nodes), func(a, b *clusterv1.Node) int {
		return cmp.Compare(a.GetNodeId(), b.GetNodeId())
	})
}

// api returns where a node's API is, empty if unknown.
func (b *addressBook) api(nodeID string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nodes[nodeID].GetApiAddress()
}
