package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

const (
	// Spaces attempts while a group elects a leader; doubled each time.
	settleRetry    = 20 * time.Millisecond
	settleRetryMax = time.Second
	// Elections take less: a replica that has not settled by then is worth a line.
	settlePatience = 10 * time.Second
)

// settle does what a replica needs once after each start: the group gets its
// identity if it has none yet, and the replica catches up. It goes on until that
// is done or the replica stops; a repeat, also by other replicas, is harmless.
func (n *Node) settle(ctx context.Context, g *Group, record *clusterv1.Group) {
	began, told := time.Now(), false
	for wait := settleRetry; ctx.Err() == nil; wait = min(2*wait, settleRetryMax) {
		attempt, cancel := context.WithTimeout(ctx, proposalTimeout)
		err := n.identify(attempt, g, record)
		cancel()
		if err == nil {
			g.initialised.Store(true)
			g.caughtUp.Store(true)
			g.unsettled.Store(nil)
			if told {
				n.log.Info("a replica has caught up", zap.Uint64("group", g.id), zap.Duration("after", time.Since(began)))
			}
			wake(n.directoryApplied)
			return
		}
		if errors.Is(err, ErrDataDir) {
			n.fail(err)
			return
		}
		g.unsettled.Store(&err)
		if !told && ctx.Err() == nil && time.Since(began) > settlePatience {
			told = true
			n.log.Warn("a replica has not caught up since its start, will go on trying",
				zap.Uint64("group", g.id), zap.Duration("for", time.Since(began)), zap.Error(err))
		}
		pause(ctx, wait)
	}
}

// identify reads the group's identity, linearizably, or gives it.
func (n *Node) identify(ctx context.Context, g *Group, record *clusterv1.Group) error {
	answer, err := g.Read(ctx, statemachine.ReadStatus{})
	if err != nil {
		return err
	}
	status := answer.(statemachine.Status)
	clusterID := n.ClusterID()
	switch {
	case status.GroupID == g.id && status.ClusterID == clusterID:
		return nil
	case status.GroupID != 0:
		return fmt.Errorf("%w %s: the store holds group %d of cluster %s where group %d of cluster %s is expected: restore the directory from one backup",
			ErrDataDir, n.options.DataDir, status.GroupID, status.ClusterID, g.id, clusterID)
	case g.id == clusterv1.DirectoryGroup:
		return n.bootstrapDirectory(ctx, g)
	case !slices.ContainsFunc(record.FoundersOrReplicas(), func(r *clusterv1.Replica) bool { return r.GetReplicaId() == g.replicaID }):
		// A replica that joins knows less of the group than those that made it.
		return fmt.Errorf("%w: group %d has no identity yet", ErrNotReady, g.id)
	}
	init := &raftlogv1.InitGroup{ClusterId: clusterID, GroupId: g.id}
	// A group that was made later begins without ranges.
	for _, r := range n.founding.GetRanges() {
		if r.GetGroupId() == g.id {
			init.Ranges = append(init.Ranges, r)
		}
	}
	payload, err := init.MarshalVT()
	if err != nil {
		return err
	}
	return g.apply(ctx, raftlogv1.Kind_KIND_INIT_GROUP, payload)
}

// bootstrapDirectory stores the first map of a new cluster.
func (n *Node) bootstrapDirectory(ctx context.Context, directory *Group) error {
	if n.founding == nil {
		return fmt.Errorf("%w: the directory is empty, and this node does not know how its cluster began", ErrNotReady)
	}
	payload, err := (&raftlogv1.BootstrapDirectory{Map: n.founding}).MarshalVT()
	if err != nil {
		return err
	}
	if err := directory.apply(ctx, raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY, payload); err != nil {
		return err
	}
	n.log.Info("created a new cluster", zap.String("cluster", n.ClusterID()), zap.Int("groups", len(n.founding.GetGroups())-1))
	return nil
}

// apply proposes a command that concerns the group itself.
func (g *Group) apply(ctx context.Context, kind raftlogv1.Kind, payload []byte) error {
	result, err := g.Propose(ctx, &raftlogv1.Command{Kind: kind, RequestId: newRequestID(), Payload: payload})
	if err != nil {
		return err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY:
		return nil
	default:
		return fmt.Errorf("%w: %s: %s", ErrRefused, kind, result.GetMessage())
	}
}
