package shardgroup

import (
	"fmt"
	"sync"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
)

// raftConnections is the number of connections that the groups share to a peer.
// Few make for large batches, which are cheaper to send; but a large message
// holds up the heartbeats of the groups that it shares its connection with.
const raftConnections = 2

// registry tells dragonboat where replicas are. Members of groups are named by
// node id, not by address, so that addresses may change between restarts. It
// must be in place from a cluster's first start on.
//
// Dragonboat asks for each message that it sends, and tells of each that it gets.
type registry struct {
	mu       sync.RWMutex
	replicas map[raftio.NodeInfo]string // replica → node id
	routes   map[string]route           // node id → way to it
}

// route is the way to a node.
type route struct {
	address string
	keys    [raftConnections]string // of the connections
}

var _ raftio.INodeRegistry = (*registry)(nil)

func newRegistry() *registry {
	return &registry{replicas: map[raftio.NodeInfo]string{}, routes: map[string]route{}}
}

// Create implements config.NodeRegistryFactory.
func (r *registry) Create(_ string, _ uint64, _ config.TargetValidator) (raftio.INodeRegistry, error) {
	return r, nil
}

// setAddress records where a node is.
func (r *registry) setAddress(nodeID, address string) {
	to := route{address: address}
	for i := range to.keys {
		to.keys[i] = fmt.Sprintf("%s-%d", address, i)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[nodeID] = to
}

func (r *registry) Close() error { return nil }

func (r *registry) Add(shardID, replicaID uint64, nodeID string) {
	replica := raftio.NodeInfo{ShardID: shardID, ReplicaID: replicaID}
	r.mu.RLock()
	known := r.replicas[replica]
	r.mu.RUnlock()
	if known == nodeID {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replicas[replica] = nodeID
}

func (r *registry) Remove(shardID, replicaID uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.replicas, raftio.NodeInfo{ShardID: shardID, ReplicaID: replicaID})
}

func (r *registry) RemoveShard(shardID uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for replica := range r.replicas {
		if replica.ShardID == shardID {
			delete(r.replicas, replica)
		}
	}
}

// Resolve returns a replica's address, and a key that spreads the groups over
// the connections to it.
func (r *registry) Resolve(shardID, replicaID uint64) (string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	nodeID, ok := r.replicas[raftio.NodeInfo{ShardID: shardID, ReplicaID: replicaID}]
	if !ok {
		return "", "", fmt.Errorf("replica %d of group %d is unknown", replicaID, shardID)
	}
	to, ok := r.routes[nodeID]
	if !ok {
		return "", "", fmt.Errorf("the address of node %s is unknown", nodeID)
	}
	return to.address, to.keys[shardID%raftConnections], nil
}
