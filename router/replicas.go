package router

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// restTime is how long a replica that failed is left alone, as long as others
// are there. Then the next request finds out.
const restTime = time.Second

// replicas spreads calls over the replicas of groups. Any replica serves any
// call: of two that are picked at random the one with fewer calls under way is
// asked, so that a slow node gets less and no node all.
type replicas struct {
	calls sync.Map // node id → *atomic.Int64: calls under way
	rests sync.Map // rested → time.Time: until when a replica is left alone
	turns atomic.Int64
}

// rested is a node's replica of a group.
type rested struct {
	group uint64
	node  string
}

func (r *replicas) underWay(node string) *atomic.Int64 {
	if calls, ok := r.calls.Load(node); ok {
		return calls.(*atomic.Int64)
	}
	calls, _ := r.calls.LoadOrStore(node, new(atomic.Int64))
	return calls.(*atomic.Int64)
}

// pick returns the node to ask: the preferred one if it has a replica, else one
// that was not tried and does not rest; ok is false if the group has no replica.
func (r *replicas) pick(group *clusterv1.Group, preferred string, tried []string) (node string, ok bool) {
	all := make([]string, 0, 8)
	for _, replica := range group.GetReplicas() {
		all = append(all, replica.GetNodeId())
	}
	if len(all) == 0 {
		return "", false
	}
	if preferred != "" && slices.Contains(all, preferred) {
		return preferred, true
	}
	fresh := slices.DeleteFunc(all, func(node string) bool { return slices.Contains(tried, node) })
	if len(fresh) == 0 {
		// Whoever tried all of them begins again.
		return group.GetReplicas()[rand.IntN(len(group.GetReplicas()))].GetNodeId(), true
	}
	now := time.Now()
	awake := slices.DeleteFunc(slices.Clone(fresh), func(node string) bool { return r.restsUntil(group, node).After(now) })
	if len(awake) == 0 {
		// All rest: the one that has rested longest.
		return slices.MinFunc(fresh, func(a, b string) int { return r.restsUntil(group, a).Compare(r.restsUntil(group, b)) }), true
	}
	a, b := awake[rand.IntN(len(awake))], awake[rand.IntN(len(awake))]
	if r.underWay(b).Load() < r.underWay(a).Load() {
		return b, true
	}
	return a, true
}

func (r *replicas) restsUntil(group *clusterv1.Group, node string) time.Time {
	if until, ok := r.rests.Load(rested{group.GetGroupId(), node}); ok {
		return until.(time.Time)
	}
	return time.Time{}
}

// rest leaves a replica alone for a while.
func (r *replicas) rest(group uint64, node string) {
	// The count tells apart what came at the same time.
	until := time.Now().Add(restTime + time.Duration(r.turns.Add(1)))
	r.rests.Store(rested{group, node}, until)
}
