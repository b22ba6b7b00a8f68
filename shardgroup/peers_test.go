package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// fakePeer answers what a test says; what is nil hangs.
type fakePeer struct {
	nodev1.NodeServiceClient
	heartbeat  func() error
	join       func() (*nodev1.JoinResponse, error)
	membership func() (*nodev1.Membership, error)
	rangeMap   func() *clusterv1.RangeMap
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

func (p *fakePeer) Hello(ctx context.Context, _ *nodev1.HelloRequest, _ ...grpc.CallOption) (*nodev1.HelloResponse, error) {
	return nil, hang(ctx)
}

func (p *fakePeer) Heartbeat(ctx context.Context, _ *nodev1.HeartbeatRequest, _ ...grpc.CallOption) (*nodev1.HeartbeatResponse, error) {
	if p.heartbeat == nil {
		return nil, hang(ctx)
	}
	return &nodev1.HeartbeatResponse{}, p.heartbeat()
}

func (p *fakePeer) Join(ctx context.Context, _ *nodev1.JoinRequest, _ ...grpc.CallOption) (*nodev1.JoinResponse, error) {
	if p.join == nil {
		return nil, hang(ctx)
	}
	return p.join()
}

func (p *fakePeer) GroupMembership(ctx context.Context, _ *nodev1.GroupMembershipRequest, _ ...grpc.CallOption) (*nodev1.GroupMembershipResponse, error) {
	if p.membership == nil {
		return nil, hang(ctx)
	}
	m, err := p.membership()
	return &nodev1.GroupMembershipResponse{Membership: m}, err
}

func (p *fakePeer) RangeMap(ctx context.Context, _ *nodev1.RangeMapRequest, _ ...grpc.CallOption) (*nodev1.RangeMapResponse, error) {
	if p.rangeMap == nil {
		return nil, hang(ctx)
	}
	return &nodev1.RangeMapResponse{Map: p.rangeMap()}, nil
}

// nodeAmong is node "self" of cluster "c", without replicas, among peers that have one
// of each group.
func nodeAmong(t *testing.T, peers map[string]*fakePeer) *Node {
	t.Helper()
	m := mapOf("c", 1, peers)
	n := &Node{
		identity: identity{NodeID: "self", ClusterID: "c"}, log: zap.NewNop(), metrics: newMetrics(prometheus.NewRegistry()),
		record: &clusterv1.Node{NodeId: "self", RaftAddress: "r-self", ApiAddress: "self"}, registry: newRegistry(),
		groups: map[uint64]*Group{}, faults: map[uint64]error{}, gone: map[uint64]uint64{}, unremoved: map[uint64]string{},
		kick: make(chan struct{}, 1), failed: make(chan error, 1), directoryApplied: make(chan struct{}, 1),
	}
	n.options.Peers = func(address string) (nodev1.NodeServiceClient, error) {
		if peer := peers[address]; peer != nil {
			return peer, nil
		}
		return nil, fmt.Errorf("no node at %s", address)
	}
	n.life, n.cancelBackground = context.WithCancel(t.Context())
	n.book = newAddressBook(n.record, n.registry)
	n.maps = newMapFeed(func(*clusterv1.RangeMap) error { return nil })
	if err := n.maps.offer(m); err != nil {
		t.Fatal(err)
	}
	n.book.learn(m.GetNodes()...)
	return n
}

func mapOf(clusterID string, version uint64, peers map[string]*fakePeer) *clusterv1.RangeMap {
	m := &clusterv1.RangeMap{Cluster: &clusterv1.Cluster{ClusterId: clusterID, MapVersion: version, ActiveVersion: 1}}
	groups := []*clusterv1.Group{{GroupId: clusterv1.DirectoryGroup}, {GroupId: 2}}
	for id := range peers {
		m.Nodes = append(m.Nodes, &clusterv1.Node{NodeId: id, RaftAddress: "r-" + id, ApiAddress: id, State: clusterv1.NodeState_NODE_STATE_UP})
		for _, group := range groups {
			group.Replicas = append(group.Replicas, &clusterv1.Replica{
				ReplicaId: replicaOf(id), NodeId: id, Role: clusterv1.ReplicaRole_REPLICA_ROLE_VOTER})
		}
	}
	m.Groups = groups
	for id, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.Keyspace_KEYSPACE_TENANT} {
		m.Ranges = append(m.Ranges, &clusterv1.Range{RangeId: uint64(id + 1), Keyspace: keyspace, GroupId: 2, Epoch: 1})
	}
	return m
}

// replicaOf is the id of a peer's replicas.
func replicaOf(peer string) uint64 { return uint64(peer[0]) }

// Two replicas of the directory that hang do not keep reports from the third.
func TestHeartbeatsPassNodesThatHang(t *testing.T) {
	for range 20 { // in any order
		synctest.Test(t, func(t *testing.T) {
			n := nodeAmong(t, map[string]*fakePeer{"x": {}, "y": {}, "z": {heartbeat: func() error { return nil }}})
			begin := time.Now()
			n.sendHeartbeat(t.Context())
			if n.heartbeat.leader != "z" || time.Since(begin) > 2*time.Second {
				t.Fatalf("reported to %q after %s", n.heartbeat.leader, time.Since(begin))
			}
		})
	}
}

// Nodes that hang do not hold up a registration.
func TestRegistrationPassesNodesThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := map[string]*fakePeer{"x": {}, "y": {}}
		attempts := 0
		join := func() (*nodev1.JoinResponse, error) {
			if attempts++; attempts < 4 {
				return nil, status.Error(codes.Unavailable, "an election")
			}
			return &nodev1.JoinResponse{Map: mapOf("c", 2, peers)}, nil
		}
		peers["x"].join, peers["y"].join = join, join
		n := nodeAmong(t, peers)
		begin := time.Now()
		n.background.Go(func() { n.meet(n.life) })
		for !n.registered.Load() {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("registered after %s", took)
		}
		n.cancelBackground()
		n.background.Wait()
	})
}

// Only a voter by its own account says who has left, and only the own cluster's map
// counts.
func TestRemovalsAreConfirmed(t *testing.T) {
	voters := func(ids ...string) func() (*nodev1.Membership, error) {
		return func() (*nodev1.Membership, error) {
			m := &nodev1.Membership{Voters: map[uint64]string{}}
			for _, id := range ids {
				m.Voters[replicaOf(id)] = id
			}
			return m, nil
		}
	}
	for name, test := range map[string]struct {
		x, y      func() (*nodev1.Membership, error)
		clusterID string
		confirmed bool
	}{
		"a voter":                     {voters("x", "y"), voters("x", "y"), "c", true},
		"one hangs":                   {nil, voters("x", "y"), "c", true},
		"still a member":              {voters("x", "y", "self"), voters("x", "y", "self"), "c", false},
		"one has left itself":         {voters("y", "self"), voters("x", "y", "self"), "c", false},
		"the other one is in another": {voters("z"), voters("y"), "c", true},
		"none is a voter":             {voters("y"), voters("x"), "c", false},
		"another cluster's map":       {voters("x", "y"), voters("x", "y"), "d", false},
		"none answers":                {nil, func() (*nodev1.Membership, error) { return nil, errors.New("no") }, "c", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peers := map[string]*fakePeer{"x": {membership: test.x}, "y": {membership: test.y}}
				n := nodeAmong(t, peers)
				for _, peer := range peers {
					peer.rangeMap = func() *clusterv1.RangeMap { return mapOf(test.clusterID, 2, peers) }
				}
				surplus := map[uint64]uint64{2: replicaOf("self")}
				if confirmed := n.confirmRemovals(t.Context(), surplus); (len(confirmed) == 1) != test.confirmed {
					t.Errorf("confirmed %v", confirmed)
				}
			})
		})
	}
}

// A replica that dragonboat does not let go of, or that is not loaded, is given up.
func TestRestartsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		busy := func() error { return dragonboat.ErrShardAlreadyExist }
		if err := untilUnloaded(t.Context(), busy); !errors.Is(err, ErrNotReady) || time.Since(begin) > 11*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin = time.Now()
		if err := untilUnloaded(ctx, busy); !errors.Is(err, ErrNotReady) || time.Since(begin) > 0 {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
}
