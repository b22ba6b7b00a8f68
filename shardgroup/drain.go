package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

const (
	// Groups that are handed over at the same time.
	drainParallel = 16
	// How long one voter may take to become the leader before another one is asked.
	handoverPatience = time.Second
)

// Drain gives the leadership of all groups away, before a stop: writers then wait
// for a transfer, which takes milliseconds, and not for an election. It returns
// when the node leads no group that has another voter, or with the context's
// error. The node takes no new leadership for long: it tells the directory's leader
// that it stops.
func (n *Node) Drain(ctx context.Context) error {
	n.stopping.Store(true)
	if n.ClusterID() == "" {
		return nil
	}
	// The directory goes last: its leader hears of the others.
	groups := n.all()
	var rest []*Group
	var draining sync.WaitGroup
	slots := make(chan struct{}, drainParallel)
	var mu sync.Mutex
	var faults []error
	hand := func(g *Group) {
		if err := n.handOver(ctx, g); err != nil {
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, err)
		}
	}
	for _, g := range groups {
		if g.id == clusterv1.DirectoryGroup {
			rest = append(rest, g)
			continue
		}
		draining.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			hand(g)
		})
	}
	draining.Wait()
	for _, g := range rest {
		hand(g)
	}
	return errors.Join(faults...)
}

// leads tells whether this replica leads its group, as far as it knows.
func (g *Group) leads() bool {
	leader, _, known, err := g.host.GetLeaderID(g.id)
	return err == nil && known && leader == g.replicaID
}

// handOver asks the other voters, one after the other, to lead.
func (n *Node) handOver(ctx context.Context, g *Group) error {
	var voters []uint64
	if m := n.maps.known(); m != nil {
		for _, replica := range m.Group(g.id).GetReplicas() {
			if replica.GetRole() == clusterv1.ReplicaRole_REPLICA_ROLE_VOTER && replica.GetReplicaId() != g.replicaID &&
				m.Node(replica.GetNodeId()).GetState() == clusterv1.NodeState_NODE_STATE_UP {
				voters = append(voters, replica.GetReplicaId())
			}
		}
	}
	rand.Shuffle(len(voters), func(i, j int) { voters[i], voters[j] = voters[j], voters[i] })
	for turn := 0; len(voters) > 0 && g.leads(); turn++ {
		if err := g.transferLeader(voters[turn%len(voters)]); err != nil && !errors.Is(err, ErrNotReady) {
			return fmt.Errorf("group %d: %w", g.id, err)
		}
		for deadline := time.Now().Add(handoverPatience); g.leads() && time.Now().Before(deadline); {
			select {
			case <-ctx.Done():
				return fmt.Errorf("group %d still leads here: %w", g.id, ctx.Err())
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}
