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
	membershipReadTimeout = 2 * time.Second
	// What a report waits for that at most.
	membershipPatience = 100 * time.Millisecond
)

// membershipCache spares a round for each report: members change seldom.
type membershipCache struct {
	mu    sync.Mutex
	known *nodev1.Membership
	// Closed when the read that is under way ends; nil if there is none.
	reading chan struct{}
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

// recentMembership is membership as it was read last. If there was a change since
// it is read again, beside the report, which waits for that only until the context
// ends: a group that cannot answer must not make its node look dead. To be called
// from what Node.background waits for.
func (n *Node) recentMembership(ctx context.Context, g *Group, configID uint64) *nodev1.Membership {
	c := &g.members
	c.mu.Lock()
	if c.known.GetConfigId() == configID && configID != 0 {
		defer c.mu.Unlock()
		return c.known
	}
	reading := c.reading
	if reading == nil {
		reading = make(chan struct{})
		c.reading = reading
		n.background.Go(func() {
			attempt, cancel := context.WithTimeout(n.life, membershipReadTimeout)
			defer cancel()
			m, err := g.membership(attempt)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err == nil {
				c.known = m
			}
			c.reading = nil
			close(reading)
		})
	}
	c.mu.Unlock()
	select {
	case <-reading:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
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
