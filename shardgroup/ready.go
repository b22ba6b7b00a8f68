package shardgroup

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// readiness remembers that the node was ready once.
type readiness struct {
	mu   sync.Mutex
	once bool
	// Why the last attempt to join a cluster, or to register with it, failed.
	fault  error
	lonely time.Time // since when no group has a leader; zero if some have
}

const (
	// A node without the leader of any group is cut off; elections take less.
	cutOff = 10 * time.Second
)

// phase is what the node is doing, in a word.
func (n *Node) phase() string {
	switch {
	case n.life.Err() != nil || n.stopping.Load():
		return "stopping"
	case n.ClusterID() == "":
		return "waiting"
	case n.Ready() != nil:
		return "starting"
	}
	return "serving"
}

// Ready returns nil if the node serves: it has a map, and its replicas have caught
// up since its start. Afterwards one replica that has no leader does not count,
// nor do nodes that are away: only a node that hears of no leader at all is cut
// off. The error says what is missing, for people.
func (n *Node) Ready() error {
	n.mu.RLock()
	closed, clusterID := n.closed, n.identity.ClusterID
	n.mu.RUnlock()
	switch {
	case closed || n.stopping.Load():
		return fmt.Errorf("%w: the node is shutting down", ErrNotReady)
	case clusterID == "":
		return fmt.Errorf("%w: waiting for a cluster: found one with skerry init, or join one with -join%s", ErrNotReady, n.readiness.lately())
	case n.suspended.Load():
		return fmt.Errorf("%w: the disk is full: replicas are stopped until there is space", ErrNotReady)
	case n.maps.known() == nil:
		return fmt.Errorf("%w: no map yet: no other node of the cluster answers", ErrNotReady)
	}
	return n.readiness.judge(n)
}

func (r *readiness) judge(n *Node) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	groups := n.all()
	led := 0
	for _, g := range groups {
		if _, _, known, err := g.host.GetLeaderID(g.id); err == nil && known {
			led++
		}
	}
	if !r.once {
		if !n.registered.Load() {
			return fmt.Errorf("%w: the cluster does not know yet that the node is back%s", ErrNotReady, because(r.fault))
		}
		for _, absent := range n.absent() {
			return fmt.Errorf("%w: the replica of group %d does not run: %s", ErrNotReady, absent.GetGroupId(), absent.GetError())
		}
		for _, g := range groups {
			if !g.caughtUp.Load() {
				var fault error
				if found := g.unsettled.Load(); found != nil {
					fault = *found
				}
				return fmt.Errorf("%w: the replica of group %d has not caught up%s", ErrNotReady, g.id, because(fault))
			}
		}
		r.once = true
	}
	if led > 0 || len(groups) == 0 {
		r.lonely = time.Time{}
		return nil
	}
	if r.lonely.IsZero() {
		r.lonely = time.Now()
	}
	if lonely := time.Since(r.lonely); lonely > cutOff {
		return fmt.Errorf("%w: no group has had a leader for %s: the node is cut off, or a majority of the nodes is away", ErrNotReady, lonely.Round(time.Second))
	}
	return nil
}

// note keeps why the node could not join or register; nil if it could.
func (r *readiness) note(fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

func (r *readiness) lately() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return because(r.fault)
}

func because(fault error) string {
	if fault == nil {
		return ""
	}
	return " (" + strings.ReplaceAll(fault.Error(), "\n", "; ") + ")"
}

// WaitReady returns nil once the node is ready. It ends with the context, or with
// the fault that ends the node.
func (n *Node) WaitReady(ctx context.Context) error {
	for {
		err := n.Ready()
		if err == nil {
			return nil
		}
		select {
		case fault := <-n.failed:
			n.fail(fault) // for others who wait
			return fault
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(settleRetry):
		}
	}
}
