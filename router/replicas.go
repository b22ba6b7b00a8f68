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
	mu    sync.RWMutex
	hosts map[string]*host // by node id
	// Until when a replica is left alone.
	rests map[rested]time.Time
	turns int64
}

// host is what is known of a node, whatever its groups.
type host struct {
	calls atomic.Int64 // under way
	// It did not answer, and was not heard of since.
	suspect atomic.Bool
}

// rested is a node's replica of a group.
type rested struct {
	group uint64
	node  string
}

func (r *replicas) host(node string) *host {
	r.mu.RLock()
	h := r.hosts[node]
	r.mu.RUnlock()
	if h != nil {
		return h
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h = r.hosts[node]; h == nil {
		if h = new(host); r.hosts == nil {
			r.hosts = map[string]*host{}
		}
		r.hosts[node] = h
	}
	return h
}

func (r *replicas) underWay(node string) *atomic.Int64 { return &r.host(node).calls }

// awake tells whether nothing is known against a replica.
func (r *replicas) awake(group uint64, node string) bool {
	return !r.host(node).suspect.Load() && !r.restsUntil(group, node).After(time.Now())
}

// askable returns the replicas that are asked: voters. A learner may be far behind
// and holds reads up until it has caught up, one that leaves may be gone already.
func askable(group *clusterv1.Group) []*clusterv1.Replica {
	if voters := group.Voters(); len(voters) > 0 {
		return voters
	}
	return group.GetReplicas()
}

// pick returns the node to ask: the preferred one if it has a replica, else one
// that was not tried, is not suspect and does not rest; ok is false if the group
// has no replica.
func (r *replicas) pick(group *clusterv1.Group, preferred string, tried []string) (node string, ok bool) {
	members := askable(group)
	var room [2][8]string
	all := room[0][:0]
	for _, replica := range members {
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
		return members[rand.IntN(len(members))].GetNodeId(), true
	}
	id := group.GetGroupId()
	awake := slices.DeleteFunc(append(room[1][:0], fresh...), func(node string) bool { return !r.awake(id, node) })
	if len(awake) == 0 {
		// All rest: one that lives, and of these the one that has rested longest.
		return slices.MinFunc(fresh, func(a, b string) int {
			if sa, sb := r.host(a).suspect.Load(), r.host(b).suspect.Load(); sa != sb {
				if sa {
					return 1
				}
				return -1
			}
			return r.restsUntil(id, a).Compare(r.restsUntil(id, b))
		}), true
	}
	a, b := awake[rand.IntN(len(awake))], awake[rand.IntN(len(awake))]
	if r.underWay(b).Load() < r.underWay(a).Load() {
		return b, true
	}
	return a, true
}

func (r *replicas) restsUntil(group uint64, node string) time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.rests[rested{group, node}]
}

// rest leaves a replica alone for a while.
func (r *replicas) rest(group uint64, node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rests == nil {
		r.rests = map[rested]time.Time{}
	}
	r.turns++ // tells apart what came at the same time
	r.rests[rested{group, node}] = time.Now().Add(restTime + time.Duration(r.turns))
}
