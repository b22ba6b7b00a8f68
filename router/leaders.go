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
	// Knowledge of leaders is looked up again after that time.
	leaderAge = 10 * time.Second
	// Nobody waits for the look-up; this bounds it.
	leaderTimeout = 2 * time.Second
)

// leaders knows which node leads a group, as far as some node said lately. It is
// an optimisation: replicas forward writes to their leader, but writes that
// come to it directly save a hop and share more entries.
type leaders struct {
	source *MapSource
	nodes  Nodes

	mu     sync.Mutex
	byID   map[uint64]leader
	asking bool
}

type leader struct {
	node  string // empty if unknown
	asked time.Time
}

func newLeaders(source *MapSource, nodes Nodes) *leaders {
	return &leaders{source: source, nodes: nodes, byID: map[uint64]leader{}}
}

// of returns the node that leads a group, empty if unknown, at once. If it is
// unknown or long known, the node is asked for the next time.
func (l *leaders) of(m *clusterv1.Map, group *clusterv1.Group, ask string) string {
	if len(group.GetReplicas()) < 2 {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.byID[group.GetGroupId()]
	if now := time.Now(); !l.asking && now.Sub(known.asked) > leaderAge && l.source.background(func(ctx context.Context) { l.learn(ctx, m, ask) }) {
		l.asking = true
		known.asked = now
		l.byID[group.GetGroupId()] = known
	}
	return known.node
}

// confirm is told of a node that answered what only a leader answers.
func (l *leaders) confirm(group uint64, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[group] = leader{node, time.Now()}
}

// forget is told of a leader that failed a call. It is asked for again at once.
func (l *leaders) forget(group uint64, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID[group].node == node {
		delete(l.byID, group)
	}
}

// learn asks one node about all groups that it has.
func (l *leaders) learn(ctx context.Context, m *clusterv1.Map, nodeID string) {
	answer := l.ask(ctx, m, nodeID)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = false
	now := time.Now()
	for _, replica := range answer.GetReplicas() {
		for _, member := range m.Group(replica.GetGroupId()).GetReplicas() {
			if member.GetReplicaId() == replica.GetLeaderReplicaId() {
				l.byID[replica.GetGroupId()] = leader{member.GetNodeId(), now}
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
