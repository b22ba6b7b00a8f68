package router

import (
	"sync"
	"sync/atomic"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// replicas remembers for each group which replica answered last. Any replica
// serves any call; staying with one keeps its caches warm. Routers begin at
// different ones, so that followers share the reads.
type replicas struct {
	offset  uint32
	byGroup sync.Map // group id → *atomic.Uint32: how often the group was turned
}

func (r *replicas) turns(group uint64) *atomic.Uint32 {
	if turns, ok := r.byGroup.Load(group); ok {
		return turns.(*atomic.Uint32)
	}
	turns, _ := r.byGroup.LoadOrStore(group, new(atomic.Uint32))
	return turns.(*atomic.Uint32)
}

// pick returns the node to ask, and the turn to give back to next; ok is false
// if the group has no replica.
func (r *replicas) pick(group *clusterv1.Group) (nodeID string, turn uint32, ok bool) {
	count := len(group.GetReplicas())
	if count == 0 {
		return "", 0, false
	}
	turn = r.turns(group.GetGroupId()).Load()
	at := (uint64(r.offset) + group.GetGroupId() + uint64(turn)) % uint64(count)
	return group.GetReplicas()[at].GetNodeId(), turn, true
}

// next turns to another replica, unless somebody did since.
func (r *replicas) next(group uint64, turn uint32) {
	r.turns(group).CompareAndSwap(turn, turn+1)
}
