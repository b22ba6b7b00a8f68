package router

import (
	"context"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// Knowledge of leaders is looked up again after that time, and while there is
	// none.
	leaderAge   = 10 * time.Second
	leaderRetry = 250 * time.Millisecond
	// Nobody waits for the look-up; this bounds it.
	leaderTimeout = 2 * time.Second
)

// leaders knows which node leads a group, as far as some node said lately. It is
// an optimisation for writes, which replicas forward to their leader: those that
// come to it directly save a hop and share more entries. Polls need it.
type leaders struct {
	source   *MapSource
	nodes    Nodes
	replicas *replicas

	mu     sync.Mutex
	byID   map[uint64]leader
	asking map[string]bool // nodes
}

type leader struct {
	node  string // empty if unknown
	term  uint64 // of the last one that was looked up
	asked time.Time
}

func newLeaders(source *MapSource, nodes Nodes, replicas *replicas) *leaders {
	return &leaders{source: source, nodes: nodes, replicas: replicas, byID: map[uint64]leader{}, asking: map[string]bool{}}
}

// of returns the node that leads a group, empty if unknown, at once. If it is
// unknown, does not answer, or is long known, two replicas are asked for the next
// time.
func (l *leaders) of(m *clusterv1.Map, group *clusterv1.Group) string {
	members, id := group.GetReplicas(), group.GetGroupId()
	if len(members) < 2 {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known, age := l.byID[id], leaderAge
	if known.node != "" && !l.replicas.awake(id, known.node) {
		known.node = ""
	}
	if known.node == "" {
		age = leaderRetry
	}
	if now := time.Now(); now.Sub(known.asked) > age {
		entry := l.byID[id]
		entry.asked = now
		l.byID[id] = entry
		one, _ := l.replicas.pick(group, "", nil)
		other, _ := l.replicas.pick(group, "", []string{one})
		for _, node := range []string{one, other} {
			if !l.asking[node] && l.source.background(func(ctx context.Context) { l.learn(ctx, m, node) }) {
				l.asking[node] = true
			}
		}
	}
	return known.node
}

// confirm is told of a node that answered what only a leader answers.
func (l *leaders) confirm(group uint64, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[group] = leader{node, l.byID[group].term, time.Now()}
}

// hinted is told of a leader by a replica that is none itself.
func (l *leaders) hinted(m *clusterv1.Map, group uint64, node string) {
	for _, member := range m.Group(group).GetReplicas() {
		if member.GetNodeId() == node {
			l.confirm(group, node)
		}
	}
}

// forget is told of a leader that failed a call. It is asked for again at once.
func (l *leaders) forget(group uint64, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.byID[group]; known.node == node {
		l.byID[group] = leader{term: known.term}
	}
}

// learn asks one node about all groups that it has. Of two leaders the one with
// the higher term is believed.
func (l *leaders) learn(ctx context.Context, m *clusterv1.Map, nodeID string) {
	answer := l.ask(ctx, m, nodeID)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.asking, nodeID)
	now := time.Now()
	for _, replica := range answer.GetReplicas() {
		id := replica.GetGroupId()
		for _, member := range m.Group(id).GetReplicas() {
			if member.GetReplicaId() == replica.GetLeaderReplicaId() && replica.GetTerm() >= l.byID[id].term {
				l.byID[id] = leader{member.GetNodeId(), replica.GetTerm(), now}
			}
		}
	}
}

func (l *leaders) ask(ctx context.Context, m *clusterv1.Map, nodeID string) (answer *nodev1.GroupStatusResponse) {
	defer func() {
		if r := recover(); r != nil {
			l.source.metrics.panics.Inc()
			l.source.log.Error("panic while asking for leaders", zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	client, err := nodeClient(l.nodes, m, nodeID)
	if err != nil {
		return nil
	}
	answer, err = client.GroupStatus(ctx, &nodev1.GroupStatusRequest{})
	if err != nil {
		return nil
	}
	return answer
}
