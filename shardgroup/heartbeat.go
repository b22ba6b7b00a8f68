package shardgroup

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// heartbeatTimeout bounds one report. It is short: the next one tells more.
	heartbeatTimeout = time.Second
	// heartbeatRound bounds the attempts at all nodes that may lead the directory. It
	// reaches another one if some of them hang; the order changes each time.
	heartbeatRound = 4 * heartbeatTimeout
)

// heartbeat is where the node's reports go.
type heartbeat struct {
	mu     sync.Mutex
	leader string // node that took the last one
	behind int    // answers in a row that told of a younger map
}

// sendHeartbeats reports to the directory's leader, again and again.
func (n *Node) sendHeartbeats(ctx context.Context) {
	ticker := time.NewTicker(n.options.HeartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-n.introduced: // who is registered is alive, and need not wait to say so
		}
		n.sendHeartbeat(ctx)
	}
}

// sendHeartbeat tries the last leader, then where it pointed, then the others in
// random order.
func (n *Node) sendHeartbeat(ctx context.Context) {
	m := n.maps.known()
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, heartbeatRound)
	defer cancel()
	request := &nodev1.HeartbeatRequest{Report: n.report(ctx)}
	var candidates []string
	n.heartbeat.mu.Lock()
	last := n.heartbeat.leader
	n.heartbeat.mu.Unlock()
	for _, id := range []string{last, n.leaderNode(clusterv1.DirectoryGroup)} {
		if id != "" {
			candidates = append(candidates, id)
		}
	}
	replicas := m.Group(clusterv1.DirectoryGroup).GetReplicas()
	for _, i := range rand.Perm(len(replicas)) {
		candidates = append(candidates, replicas[i].GetNodeId())
	}
	var tried []string
	for len(candidates) > 0 && ctx.Err() == nil {
		id := candidates[0]
		candidates = candidates[1:]
		if slices.Contains(tried, id) {
			continue
		}
		tried = append(tried, id)
		answer, err := n.heartbeatTo(ctx, id, request)
		if err == nil {
			n.heard(ctx, id, answer.GetMapVersion())
			n.metrics.heartbeats.WithLabelValues("ok").Inc()
			return
		}
		if n.refused(err) {
			break // the directory's leader goes by what is committed
		}
		if hint := leaderHint(err); hint != "" {
			candidates = append([]string{hint}, candidates...)
		}
	}
	n.heartbeat.mu.Lock()
	n.heartbeat.leader = ""
	n.heartbeat.mu.Unlock()
	n.metrics.heartbeats.WithLabelValues("failed").Inc()
}

func (n *Node) heartbeatTo(ctx context.Context, nodeID string, request *nodev1.HeartbeatRequest) (*nodev1.HeartbeatResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	if nodeID == n.record.GetNodeId() {
		return service{node: n}.Heartbeat(ctx, request)
	}
	client, err := n.peer(nodeID)
	if err != nil {
		return nil, err
	}
	return client.Heartbeat(ctx, request)
}

// heard notes who leads the directory. A node that stays behind its map, say for
// a replica of the directory that was removed while nobody could tell, asks.
func (n *Node) heard(ctx context.Context, leader string, version uint64) {
	n.heartbeat.mu.Lock()
	n.heartbeat.leader = leader
	if version > n.maps.version() {
		n.heartbeat.behind++
	} else {
		n.heartbeat.behind = 0
	}
	ask := n.heartbeat.behind >= 2 && leader != n.record.GetNodeId()
	n.heartbeat.mu.Unlock()
	if !ask {
		return
	}
	client, err := n.peer(leader)
	if err != nil {
		return
	}
	answer, err := client.RangeMap(ctx, &nodev1.RangeMapRequest{MinVersion: version, Forwarded: true})
	if err != nil {
		n.log.Debug("cannot read the map of the directory's leader", zap.Error(err))
		return
	}
	n.takeMap(answer.GetMap())
}

// leaderHint returns the node that an error points to, empty for none.
func leaderHint(err error) string {
	return routeDetail(err).GetLeaderNodeId()
}
