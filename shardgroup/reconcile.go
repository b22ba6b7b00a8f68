package shardgroup

import (
	"context"
	"fmt"
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
		n.suspend()
		return true
	}
	recorded, err := n.recordedReplicas()
	if err != nil {
		n.log.Error("cannot read which replicas the node has", zap.Error(err))
		return false
	}
	// First what others wait for: a removal may have to wait itself.
	settled := true
	for _, record := range m.Proto().GetGroups() {
		if own := record.ReplicaOn(n.ID()); own != nil && ctx.Err() == nil {
			settled = n.ensure(record, own, recorded[record.GetGroupId()]) && settled
		}
	}
	marked, waiting, err := n.finishRemovals()
	if err != nil {
		n.log.Error("cannot read which replicas are being removed", zap.Error(err))
		return false
	}
	settled = settled && waiting == 0
	if len(marked) > waiting {
		wake(n.kick) // replicas may wait for that
	}
	surplus := map[uint64]uint64{}
	for groupID, replicaID := range recorded {
		if marked[groupID] == 0 && m.Group(groupID).ReplicaOn(n.ID()).GetReplicaId() != replicaID {
			surplus[groupID] = replicaID
		}
	}
	if removed := n.removeSurplus(ctx, surplus); removed > 0 {
		wake(n.kick) // replicas may wait for that
	} else if len(surplus) > 0 {
		settled = false
	}
	return settled
}

// ensure makes a replica run that the map gives to this node, and reports whether
// it does as it ought to.
func (n *Node) ensure(record *clusterv1.Group, own *clusterv1.Replica, recorded uint64) bool {
	n.placing.Lock()
	defer n.placing.Unlock()
	if n.suspended.Load() {
		return false // since this pass began
	}
	id := record.GetGroupId()
	if g := n.group(id); g != nil {
		if n.runs(g) {
			return true
		}
		n.halt(g)
		n.mu.Lock()
		n.gone[id] = g.replicaID
		n.mu.Unlock()
	}
	if own.GetRole() == clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING && n.left(id) == own.GetReplicaId() {
		return true // it has left, and only its record is still there
	}
	if recorded != 0 && recorded != own.GetReplicaId() {
		n.note(id, fmt.Errorf("group %d: %w: replica %d is removed first", id, errReplaced, recorded))
		return false
	}
	err := n.startGroup(record)
	changed := n.note(id, err)
	switch {
	case err == nil:
		n.log.Info("a replica starts", zap.Uint64("group", id), zap.Uint64("replica", own.GetReplicaId()))
	case changed && n.life.Err() == nil:
		n.log.Warn("a replica cannot be started, will try again", zap.Uint64("group", id), zap.Error(err))
	}
	return err == nil
}

// left returns the replica that stopped because its group let it go, 0 for none
// since the node started.
func (n *Node) left(groupID uint64) uint64 {
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

// note keeps why a replica cannot be started, and reports whether that is news.
func (n *Node) note(groupID uint64, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.faults[groupID]
	if err == nil {
		delete(n.faults, groupID)
		return before != nil
	}
	n.faults[groupID] = err
	return before == nil || before.Error() != err.Error()
}
