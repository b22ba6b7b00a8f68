package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Changes of membership wait for one commit; reads of it for one round.
const (
	membershipTimeout     = 4 * time.Second
	membershipReadTimeout = 500 * time.Millisecond
)

// membershipCache spares a round for each report: members change seldom.
type membershipCache struct {
	mu    sync.Mutex
	known *nodev1.Membership
}

// membership reads who is a member of the group, linearizably.
func (g *Group) membership(ctx context.Context) (*nodev1.Membership, error) {
	m, err := g.host.SyncGetShardMembership(ctx, g.id)
	if err != nil {
		return nil, fmt.Errorf("group %d: %w", g.id, fromRaft(err))
	}
	answer := &nodev1.Membership{ConfigId: m.ConfigChangeID, Voters: m.Nodes, Learners: m.NonVotings}
	for id := range m.Removed {
		answer.Removed = append(answer.Removed, id)
	}
	return answer, nil
}

// recentMembership is membership as of a change, from memory if it is known.
func (g *Group) recentMembership(ctx context.Context, configID uint64) *nodev1.Membership {
	g.members.mu.Lock()
	defer g.members.mu.Unlock()
	if g.members.known.GetConfigId() == configID && configID != 0 {
		return g.members.known
	}
	ctx, cancel := context.WithTimeout(ctx, membershipReadTimeout)
	defer cancel()
	if m, err := g.membership(ctx); err == nil {
		g.members.known = m
		return m
	}
	return nil
}

// changeMembership proposes one change, decided on a certain membership. An error
// leaves open whether it takes effect: the membership is read again before the
// next one.
func (g *Group) changeMembership(ctx context.Context, request *nodev1.ChangeMembershipRequest) error {
	var state *dragonboat.RequestState
	var err error
	replica, config := request.GetReplicaId(), request.GetConfigId()
	switch request.GetChange() {
	case nodev1.ChangeMembershipRequest_CHANGE_ADD_LEARNER:
		state, err = g.host.RequestAddNonVoting(g.id, replica, request.GetNodeId(), config, membershipTimeout)
	case nodev1.ChangeMembershipRequest_CHANGE_ADD_VOTER:
		state, err = g.host.RequestAddReplica(g.id, replica, request.GetNodeId(), config, membershipTimeout)
	case nodev1.ChangeMembershipRequest_CHANGE_REMOVE:
		state, err = g.host.RequestDeleteReplica(g.id, replica, config, membershipTimeout)
	default:
		return fmt.Errorf("%w: unknown change of membership %v", ErrBadRequest, request.GetChange())
	}
	if err != nil {
		return fmt.Errorf("group %d: %w", g.id, fromRaft(err))
	}
	defer state.Release()
	select {
	case result := <-state.ResultC():
		switch {
		case result.Completed():
			return nil
		case result.Rejected():
			return fmt.Errorf("group %d: %w: its members have changed since", g.id, ErrNotReady)
		case result.Dropped():
			return fmt.Errorf("group %d has no leader: %w", g.id, ErrNotReady)
		}
		return fmt.Errorf("group %d: %w", g.id, ErrAmbiguous)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transferLeader asks the leader to hand over.
func (g *Group) transferLeader(replicaID uint64) error {
	err := g.host.RequestLeaderTransfer(g.id, replicaID)
	if errors.Is(err, dragonboat.ErrInvalidOperation) {
		return fmt.Errorf("group %d: %w: replica %d cannot lead", g.id, ErrBadRequest, replicaID)
	}
	return fromRaft(err)
}
