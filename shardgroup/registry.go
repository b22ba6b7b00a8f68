package shardgroup

import (
	"fmt"
	"sync"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
)

// registry tells dragonboat where replicas are. Members of groups are named by
// node id, not by address, so that addresses may change between restarts. It
// must be in place from a cluster's first start on.
type registry struct {
	connections uint64

	mu        sync.RWMutex
	replicas  map[raftio.NodeInfo]string // replica → node id
	addresses map[string]string          // node id → Raft address
}

var _ raftio.INodeRegistry = (*registry)(nil)

func newRegistry() *registry {
	return &registry{replicas: map[raftio.NodeInfo]string{}, addresses: map[string]string{}}
}

// Create implements config.NodeRegistryFactory.
func (r *registry) Create(_ string, streamConnections uint64, _ config.TargetValidator) (raftio.INodeRegistry, error) {
	r.connections = max(streamConnections, 1)
	return r, nil
}

// setAddress records where a node is.
func (r *registry) setAddress(nodeID, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addresses[nodeID] = address
}

func (r *registry) Close() error { return nil }

func (r *registry) Add(shardID, replicaID uint64, nodeID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replicas[raftio.NodeInfo{ShardID: shardID, ReplicaID: replicaID}] = nodeID
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
// a few connections to it.
func (r *registry) Resolve(shardID, replicaID uint64) (string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	nodeID, ok := r.replicas[raftio.NodeInfo{ShardID: shardID, ReplicaID: replicaID}]
	if !ok {
		return "", "", fmt.Errorf("replica %d of group %d is unknown", replicaID, shardID)
	}
	address, ok := r.addresses[nodeID]
	if !ok {
		return "", "", fmt.Errorf("the address of node %s is unknown", nodeID)
	}
	return address, fmt.Sprintf("%s-%d", address, shardID%r.connections), nil
}
