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
	handoverParallel = 16
	// How long one voter may take to become the leader before another one is asked, how
	// often each is asked, and how long all of it may take for one group.
	handoverPatience = time.Second
	handoverTurns    = 2
	handoverLimit    = 10 * time.Second
)

// Drain gives the leadership of all groups away, before a stop: writers then wait
// for a transfer, which takes milliseconds, and not for an election. It returns
// when the node leads no group that has another voter, or an error that names the
// groups that still lead here, after 10 s for each or when the context ends. The node
// takes no new leadership for long: it tells the directory's leader that it stops.
func (n *Node) Drain(ctx context.Context) error {
	n.stopping.Store(true)
	if n.ClusterID() == "" {
		return nil
	}
	return n.handOverAll(ctx)
}

// handOverAll gives the leadership of all groups away, of some at the same time. The
// directory goes last: its leader hears of the others.
func (n *Node) handOverAll(ctx context.Context) error {
	var rest []*Group
	var handing sync.WaitGroup
	slots := make(chan struct{}, handoverParallel)
	var mu sync.Mutex
	var faults []error
	hand := func(g *Group) {
		ctx, cancel := context.WithTimeout(ctx, handoverLimit)
		defer cancel()
		if err := handOver(ctx, n.successors(g), g.leads, g.transferLeader); err != nil {
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, fmt.Errorf("group %d still leads here: %w", g.id, err))
		}
	}
	for _, g := range n.all() {
		if g.id == clusterv1.DirectoryGroup {
			rest = append(rest, g)
			continue
		}
		handing.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			hand(g)
		})
	}
	handing.Wait()
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

// successors returns the group's other voters, in random order: those on nodes that
// are UP, or if there are none, on nodes that are leaving, say.
func (n *Node) successors(g *Group) []uint64 {
	var up, others []uint64
	if m := n.maps.known(); m != nil {
		for _, replica := range m.Group(g.id).GetReplicas() {
			node := m.Node(replica.GetNodeId())
			switch {
			case replica.GetRole() != clusterv1.ReplicaRole_REPLICA_ROLE_VOTER || replica.GetReplicaId() == g.replicaID || node.Gone():
			case node.GetState() == clusterv1.NodeState_NODE_STATE_UP:
				up = append(up, replica.GetReplicaId())
			default:
				others = append(others, replica.GetReplicaId())
			}
		}
	}
	if len(up) == 0 {
		up = others
	}
	rand.Shuffle(len(up), func(i, j int) { up[i], up[j] = up[j], up[i] })
	return up
}

// handOver asks voters, one after the other, to lead. It returns nil if another one
// does, or there is nobody to ask.
func handOver(ctx context.Context, voters []uint64, leads func() bool, ask func(uint64) error) error {
	if len(voters) == 0 {
		return nil
	}
	var refusal error
	for turn := range handoverTurns * len(voters) {
		if !leads() {
			return nil
		}
		if err := ask(voters[turn%len(voters)]); err != nil {
			refusal = err
		}
		for deadline := time.Now().Add(handoverPatience); leads() && time.Now().Before(deadline); {
			select {
			case <-ctx.Done():
				return errors.Join(ctx.Err(), refusal)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	if !leads() {
		return nil
	}
	err := fmt.Errorf("%w: none of %d other voters took it, asked %d times each", ErrNotReady, len(voters), handoverTurns)
	return errors.Join(err, refusal)
}
