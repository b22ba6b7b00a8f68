package shardgroup

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

const (
	reconcileInterval = 5 * time.Second
	// While something could not be done.
	reconcileRetry = 500 * time.Millisecond
)

// reconcile makes the node run the replicas that the map gives to it, and no
// others. It compares what is with what ought to be, again and again: nothing has
// to be told, and what fails is tried again.
func (n *Node) reconcile(ctx context.Context) {
	for ctx.Err() == nil {
		wait := reconcileInterval
		if m := n.maps.known(); m != nil && !n.reconcileOnce(ctx, m) {
			wait = reconcileRetry
		}
		select {
		case <-ctx.Done():
		case <-n.kick:
		case <-time.After(wait):
		}
	}
}

// reconcileOnce reports whether all is as it ought to be.
func (n *Node) reconcileOnce(ctx context.Context, m *clusterv1.Map) bool {
	if n.suspended.Load() {
		for _, g := range n.all() {
			n.halt(g)
		}
		return true
	}
	settled := true
	recorded, err := n.recordedReplicas()
	if err != nil {
		n.log.Error("cannot read which replicas the node has", zap.Error(err))
		return false
	}
	for groupID, replicaID := range recorded {
		if own := m.Group(groupID).ReplicaOn(n.ID()); own.GetReplicaId() == replicaID {
			continue
		}
		if err := n.removeReplica(ctx, groupID, replicaID); err != nil {
			settled = false
			n.log.Debug("a replica that the map does not give to this node cannot be removed yet",
				zap.Uint64("group", groupID), zap.Uint64("replica", replicaID), zap.Error(err))
		}
	}
	for _, record := range m.Proto().GetGroups() {
		own := record.ReplicaOn(n.ID())
		if own == nil || ctx.Err() != nil {
			continue
		}
		if g := n.group(record.GetGroupId()); g != nil {
			if n.runs(g) {
				continue
			}
			n.halt(g)
			n.mu.Lock()
			n.gone[g.id] = true
			n.mu.Unlock()
		}
		if own.GetRole() == clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING && recorded[record.GetGroupId()] == own.GetReplicaId() && n.left(record.GetGroupId()) {
			continue // it has left, and only its record is still there
		}
		err := n.startGroup(record)
		n.note(record.GetGroupId(), err)
		switch {
		case err == nil:
			n.log.Info("a replica starts", zap.Uint64("group", record.GetGroupId()), zap.Uint64("replica", own.GetReplicaId()))
		case errors.Is(err, errReplaced):
			settled = false
		default:
			settled = false
			n.log.Warn("a replica cannot be started, will try again", zap.Uint64("group", record.GetGroupId()), zap.Error(err))
		}
	}
	return settled
}

// left tells whether a replica stopped because its group let it go, since the
// node started.
func (n *Node) left(groupID uint64) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.gone[groupID]
}

// runs tells whether dragonboat still runs a replica: it stops those that left
// their group by itself.
func (n *Node) runs(g *Group) bool {
	_, err := n.host.GetLogReader(g.id)
	return err == nil
}

// halt stops a replica for now.
func (n *Node) halt(g *Group) {
	g.stop(n.log)
	n.dropGroup(g)
	n.metrics.dropGroup(g.id)
}

// note keeps why a replica cannot be started.
func (n *Node) note(groupID uint64, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		delete(n.faults, groupID)
	} else {
		n.faults[groupID] = err
	}
}
