package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// Between attempts to find the cluster, and to register with it.
	meetInterval     = time.Second
	registerInterval = 200 * time.Millisecond
	// Between greetings once the node is registered: addresses spread by them
	// while the directory is away.
	greetInterval = 10 * time.Second
	meetTimeout   = 2 * time.Second
	// What a start may be held up by nodes that hang.
	askAroundTimeout = time.Second
	// What the owner of a data directory has to answer, before it counts as gone.
	twinTimeout = 500 * time.Millisecond
	// How often a node that waits says so.
	waitingLog = 30 * time.Second
)

// meet introduces the node to others: until it is part of a cluster, until that
// cluster knows its present addresses, and from then on now and then.
//
//	waiting ──Found, or a cluster at Join──► member ──Join accepted──► registered
func (n *Node) meet(ctx context.Context) {
	said := time.Now().Add(-waitingLog + 5*time.Second) // an election may be all that is missing
	for ctx.Err() == nil {
		switch {
		case n.ClusterID() == "":
			n.greetBeside(ctx)
			err := n.lookForCluster(ctx)
			n.readiness.note(err)
			if err != nil && time.Since(said) > waitingLog {
				said = time.Now()
				n.log.Info("waiting to be founded (skerry init) or for a cluster to join", zap.Strings("join", n.options.Join), zap.Error(err))
			}
			pause(ctx, meetInterval)
		case !n.registered.Load():
			n.greetBeside(ctx)
			err := n.register(ctx)
			n.readiness.note(err)
			if err == nil {
				n.registered.Store(true)
				wake(n.introduced)
				continue
			}
			if time.Since(said) > waitingLog && ctx.Err() == nil {
				said = time.Now()
				n.log.Info("not registered with the cluster yet", zap.Error(err))
			}
			pause(ctx, registerInterval)
		default:
			if addresses := n.allAddresses(); len(addresses) > 0 {
				n.greet(ctx, []string{addresses[rand.IntN(len(addresses))]})
			}
			pause(ctx, greetInterval)
		}
	}
}

// greet says hello to nodes, all at the same time, and learns what they know. A node
// that the cluster has moved on from ends.
func (n *Node) greet(ctx context.Context, addresses []string) {
	n.refused(n.hello(ctx, n.record, addresses))
}

// greetBeside greets all known nodes in the background, once at a time: nodes that hang
// must not hold up a registration.
func (n *Node) greetBeside(ctx context.Context) {
	if !n.greeting.CompareAndSwap(false, true) {
		return
	}
	n.background.Go(func() {
		defer n.greeting.Store(false)
		n.greet(ctx, n.allAddresses())
	})
}

// hello returns a refusal, if any of the nodes knows that the cluster has moved on
// from the node as it is described.
func (n *Node) hello(ctx context.Context, self *clusterv1.Node, addresses []string) error {
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	var refusal error
	for _, address := range addresses {
		all.Go(func() {
			client, err := n.options.Peers(address)
			if err != nil {
				return
			}
			answer, err := client.Hello(ctx, &nodev1.HelloRequest{Node: self, ClusterId: n.ClusterID()})
			if n.isRefusal(err) {
				mu.Lock()
				defer mu.Unlock()
				refusal = err
			}
			if err != nil || answer.GetClusterId() != n.ClusterID() {
				return
			}
			n.book.learn(answer.GetNode())
			n.book.learn(answer.GetNodes()...)
		})
	}
	all.Wait()
	return refusal
}

// askAround asks, before any replica starts, whether the cluster has moved on from
// this data directory: a replica on an old copy of it has forgotten what it
// acknowledged and whom it voted for. This start was never registered, so if as many
// are known, the last one was elsewhere: it asks as of the start before, and without
// addresses, which nobody may learn yet. Nodes that do not answer at once do not count:
// when a whole cluster starts there may be none that knows anything.
func (n *Node) askAround(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askAroundTimeout)
	defer cancel()
	before := &clusterv1.Node{NodeId: n.record.GetNodeId(), Boots: n.record.GetBoots() - 1}
	refusal := outlived(n.maps.known(), before)
	if refusal == nil {
		refusal = n.checkTwin(ctx, &nodev1.JoinRequest{Node: n.record, ProcessId: n.processID})
	}
	if refusal == nil {
		refusal = n.hello(ctx, before, n.allAddresses())
	}
	if refusal == nil {
		return nil
	}
	return fmt.Errorf("%w %s: the cluster refuses it: %w", ErrDataDir, n.options.DataDir, refusal)
}

// lookForCluster joins the cluster that a node at Options.Join belongs to.
func (n *Node) lookForCluster(ctx context.Context) error {
	if len(n.options.Join) == 0 {
		return errors.New("no addresses to join at are set")
	}
	var faults []error
	for _, address := range n.options.Join {
		m, err := n.askToJoin(ctx, address)
		if err == nil {
			return n.becomeMember(func(id identity) (identity, error) {
				return id.join(n.options.DataDir, m.GetCluster().GetClusterId(), 0)
			}, m)
		}
		faults = append(faults, fmt.Errorf("%s: %w", address, err))
	}
	return errors.Join(faults...)
}

// register makes the node's present addresses known.
func (n *Node) register(ctx context.Context) error {
	if g := n.group(clusterv1.DirectoryGroup); g != nil {
		attempt, cancel := context.WithTimeout(ctx, meetTimeout)
		defer cancel()
		_, err := n.admitNode(attempt, &nodev1.JoinRequest{Node: n.record, ClusterId: n.ClusterID(), ProcessId: n.processID})
		if err == nil {
			return nil
		}
		if n.refused(err) {
			return err
		}
	}
	addresses := append(n.directoryAddresses(), n.options.Join...)
	if len(addresses) == 0 {
		return errors.New("no other node is known")
	}
	m, err := n.askToJoin(ctx, addresses[rand.IntN(len(addresses))])
	if err != nil {
		n.refused(err)
		return err
	}
	n.takeMap(m)
	return nil
}

// refused reports a cluster that does not want the node: the process must end.
func (n *Node) refused(err error) bool {
	if !n.isRefusal(err) {
		return false
	}
	n.fail(fmt.Errorf("the cluster refuses this node: %s", status.Convert(err).Message()))
	return true
}

// isRefusal tells a refusal for good from a failure that passes.
func (n *Node) isRefusal(err error) bool {
	return status.Code(err) == codes.FailedPrecondition || errors.Is(err, ErrUnwanted)
}

func (n *Node) askToJoin(ctx context.Context, address string) (*clusterv1.RangeMap, error) {
	client, err := n.options.Peers(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	answer, err := client.Join(ctx, &nodev1.JoinRequest{Node: n.record, ClusterId: n.ClusterID(), ProcessId: n.processID})
	if err != nil {
		return nil, err
	}
	if answer.GetMap() == nil {
		return nil, fmt.Errorf("%w: it has no map yet", ErrNotReady)
	}
	return answer.GetMap(), nil
}

// becomeMember makes a waiting node part of a cluster, durably, and starts Raft.
// The map may be nil.
func (n *Node) becomeMember(join func(identity) (identity, error), m *clusterv1.RangeMap) error {
	n.joining.Lock()
	defer n.joining.Unlock()
	n.mu.RLock()
	id, closed := n.identity, n.closed
	n.mu.RUnlock()
	if closed || n.life.Err() != nil {
		return fmt.Errorf("%w: the node is shutting down", ErrNotReady)
	}
	if id.ClusterID != "" {
		return fmt.Errorf("%w: the node belongs to cluster %s", ErrUnwanted, id.ClusterID)
	}
	// A crash may have left the map of a cluster that was never joined.
	err := removeDurably(n.options.DataDir, mapFile)
	if err == nil && m != nil {
		err = saveMapFile(n.options.DataDir, mapFile, m)
	}
	if err != nil {
		return err
	}
	id, err = join(id)
	if err != nil {
		return err
	}
	founding, err := loadFounding(n.options.DataDir)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.identity, n.founding = id, founding
	n.mu.Unlock()
	n.log.Info("the node is part of a cluster now", zap.String("cluster", id.ClusterID), zap.String("node", id.NodeID))
	if err = n.remember(); err == nil {
		err = n.begin()
	}
	if err != nil {
		n.fail(err)
		return err
	}
	return nil
}
