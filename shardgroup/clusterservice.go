package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// Hello answers in every phase of the node's life. It refuses processes that the
// cluster has moved on from: those learn it before they start a replica.
func (s service) Hello(_ context.Context, request *nodev1.HelloRequest) (*nodev1.HelloResponse, error) {
	n := s.node
	n.mu.RLock()
	clusterID, founding := n.identity.ClusterID, n.founding
	n.mu.RUnlock()
	if request.GetClusterId() == clusterID && clusterID != "" {
		if err := outlived(n.maps.known(), request.GetNode()); err != nil {
			return nil, toStatus(err, clusterv1.DirectoryGroup)
		}
		n.book.learn(request.GetNode())
	}
	return &nodev1.HelloResponse{
		Node: n.record, ClusterId: clusterID, Nodes: n.book.all(), MapVersion: n.maps.version(),
		Founding: founding, Phase: n.phase(), ProcessId: n.processID,
	}, nil
}

// Found makes a waiting node part of a new cluster.
func (s service) Found(_ context.Context, request *nodev1.FoundRequest) (*nodev1.FoundResponse, error) {
	n := s.node
	if request.GetNodeId() != n.ID() {
		return nil, toStatus(fmt.Errorf("%w: this is node %s, not %s: its data directory is another one now; found the cluster with the node as it is",
			ErrUnwanted, n.ID(), request.GetNodeId()), clusterv1.DirectoryGroup)
	}
	n.mu.RLock()
	founding := n.founding
	n.mu.RUnlock()
	// It may have joined meanwhile, once most of the others were founded.
	joined := founding == nil && n.ClusterID() != "" && n.ClusterID() == request.GetMap().GetCluster().GetClusterId()
	if joined || founding != nil && proto.Equal(founding, request.GetMap()) {
		return &nodev1.FoundResponse{}, nil
	}
	err := n.becomeMember(func(id identity) (identity, error) {
		return found(n.options.DataDir, id, request.GetMap())
	}, nil)
	if err != nil {
		return nil, toStatus(err, clusterv1.DirectoryGroup)
	}
	return &nodev1.FoundResponse{}, nil
}

// Join makes a node known to the cluster. A node without a replica of the
// directory passes the request on, once.
func (s service) Join(ctx context.Context, request *nodev1.JoinRequest) (*nodev1.JoinResponse, error) {
	n := s.node
	clusterID := n.ClusterID()
	switch {
	case clusterID == "":
		return nil, toStatus(fmt.Errorf("%w: this node waits for a cluster itself", ErrNotReady), clusterv1.DirectoryGroup)
	case request.GetClusterId() != "" && request.GetClusterId() != clusterID:
		return nil, toStatus(fmt.Errorf("%w: cluster %s, the node belongs to cluster %s: correct its -join, or start it with an empty data directory",
			ErrOtherCluster, clusterID, request.GetClusterId()), clusterv1.DirectoryGroup)
	case request.GetNode().GetNodeId() == "":
		return nil, toStatus(fmt.Errorf("%w: no node", ErrBadRequest), clusterv1.DirectoryGroup)
	}
	if n.group(clusterv1.DirectoryGroup) == nil && !request.GetForwarded() {
		return forward(ctx, n, func(ctx context.Context, client nodev1.NodeServiceClient) (*nodev1.JoinResponse, error) {
			onward := proto.CloneOf(request)
			onward.Forwarded = true
			return client.Join(ctx, onward)
		})
	}
	m, err := n.admitNode(ctx, request)
	if err != nil {
		return nil, toStatus(err, clusterv1.DirectoryGroup)
	}
	return &nodev1.JoinResponse{Map: m.Proto()}, nil
}

// forward passes a call on to nodes that have a replica of the directory, until
// one answers.
func forward[A any](ctx context.Context, n *Node, call func(context.Context, nodev1.NodeServiceClient) (A, error)) (A, error) {
	var none A
	faults := []error{fmt.Errorf("%w: this node has no replica of the directory", ErrNotReady)}
	for _, address := range n.directoryAddresses() {
		attempt, cancel := context.WithTimeout(ctx, meetTimeout)
		client, err := n.options.Peers(address)
		var answer A
		if err == nil {
			answer, err = call(attempt, client)
		}
		cancel()
		if err == nil || ctx.Err() != nil || n.isRefusal(err) {
			return answer, err
		}
		faults = append(faults, err)
	}
	return none, toStatus(errors.Join(faults...), clusterv1.DirectoryGroup)
}

// admitNode registers a node through the local replica of the directory.
func (n *Node) admitNode(ctx context.Context, request *nodev1.JoinRequest) (*clusterv1.Map, error) {
	g, err := service{node: n}.group(clusterv1.DirectoryGroup)
	if err != nil {
		return nil, err
	}
	if !g.initialised.Load() {
		return nil, fmt.Errorf("%w: the directory is starting", ErrNotReady)
	}
	if err := n.checkTwin(ctx, request); err != nil {
		return nil, err
	}
	record := proto.CloneOf(request.GetNode())
	record.State, record.JoinedAt, record.StateReason, record.StateSince = 0, 0, "", 0
	_, _, err = n.changeDirectory(ctx, newRequestID(), &raftlogv1.DirectoryChange{
		Actor: "node " + record.GetNodeId(), Change: &raftlogv1.DirectoryChange_RegisterNode{RegisterNode: &raftlogv1.RegisterNode{Node: record}},
	})
	if err != nil && !errors.Is(err, ErrRefused) {
		return nil, err
	}
	answer, fault := g.Read(ctx, statemachine.ReadMap{})
	if fault != nil {
		return nil, fault
	}
	m, fault := clusterv1.NewMap(answer.(*clusterv1.RangeMap))
	switch {
	case fault != nil:
		return nil, fault
	case err == nil:
		n.book.learn(record)
		return m, nil
	case refusedForGood(m, record):
		return nil, fmt.Errorf("%w: %w", ErrUnwanted, err)
	default:
		return nil, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
}

// outlived says why a cluster has no place any more for a process that runs as one
// of its nodes, or returns nil. What it goes by is committed and never taken back,
// so an old map is as good as a young one.
func outlived(m *clusterv1.Map, came *clusterv1.Node) error {
	if m == nil {
		return nil
	}
	known := m.Node(came.GetNodeId())
	switch {
	case known.Gone():
		return fmt.Errorf("%w: node %s was removed from the cluster: to use the machine again, start it with an empty data directory",
			ErrUnwanted, known.GetNodeId())
	case came.GetBoots() < known.GetBoots():
		return fmt.Errorf("%w: node %s has started %d times, this data directory knows of %d: it ran at %s since, or the directory is an old copy; "+
			"stop this process, and if no other runs, start with an empty data directory",
			ErrUnwanted, known.GetNodeId(), known.GetBoots(), came.GetBoots(), known.GetApiAddress())
	case came.GetBoots() == known.GetBoots() && moved(known, came):
		return fmt.Errorf("%w: start %d of node %s is at %s, this one at %s: the data directory was copied; stop this process and start it with an empty data directory",
			ErrUnwanted, known.GetBoots(), known.GetNodeId(), known.GetApiAddress(), came.GetApiAddress())
	}
	return nil
}

// moved tells whether a node has another address now, if it says one.
func moved(known, came *clusterv1.Node) bool {
	return came.GetRaftAddress() != "" && came.GetBoots() > 0 &&
		(known.GetRaftAddress() != came.GetRaftAddress() || known.GetApiAddress() != came.GetApiAddress())
}

// refusedForGood tells whether waiting cannot help a node that the directory did
// not register. An address that another node still has does: it may be about to
// register its own new one.
func refusedForGood(m *clusterv1.Map, came *clusterv1.Node) bool {
	return outlived(m, came) != nil || !came.WorksWith(m.Proto().GetCluster().FormatOrFirst())
}

// checkTwin refuses a process on a copy of a data directory whose owner lives, as
// far as this node knows where that would be.
func (n *Node) checkTwin(ctx context.Context, request *nodev1.JoinRequest) error {
	id := request.GetNode().GetNodeId()
	m := n.maps.known()
	if m == nil {
		return nil
	}
	address := m.Node(id).GetApiAddress()
	if address == "" || address == request.GetNode().GetApiAddress() {
		return nil
	}
	client, err := n.options.Peers(address)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, twinTimeout)
	defer cancel()
	answer, err := client.Hello(ctx, &nodev1.HelloRequest{})
	if err == nil && answer.GetNode().GetNodeId() == id && answer.GetProcessId() != request.GetProcessId() {
		return fmt.Errorf("%w: another process runs as node %s at %s: two processes must not use copies of one data directory; stop one of them and empty its directory",
			ErrUnwanted, id, address)
	}
	return nil
}

// changeDirectory proposes a change of the cluster's records through the local
// replica. It reports false if nothing had to change.
func (n *Node) changeDirectory(ctx context.Context, requestID []byte, change *raftlogv1.DirectoryChange) (*raftlogv1.DirectoryOutcome, bool, error) {
	g, err := service{node: n}.group(clusterv1.DirectoryGroup)
	if err != nil {
		return nil, false, err
	}
	payload, err := change.MarshalVT()
	if err != nil {
		return nil, false, err
	}
	result, err := g.Propose(ctx, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_CHANGE_DIRECTORY, RequestId: requestID, Payload: payload})
	if err != nil {
		return nil, false, err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY:
		outcome := &raftlogv1.DirectoryOutcome{}
		err := outcome.UnmarshalVT(result.GetPayload())
		return outcome, result.GetStatus() == raftlogv1.Result_STATUS_OK, err
	case raftlogv1.Result_STATUS_INVALID:
		return nil, false, fmt.Errorf("%w: %s", ErrBadRequest, result.GetMessage())
	default:
		return nil, false, fmt.Errorf("%w: %s", ErrRefused, result.GetMessage())
	}
}

// WatchMap sends the map as this node knows it, until the caller leaves or the
// node stops.
func (s service) WatchMap(request *nodev1.WatchMapRequest, stream grpc.ServerStreamingServer[clusterv1.MapUpdate]) error {
	version := request.GetVersion()
	for {
		updates, now, changed := s.node.maps.since(version)
		for _, update := range updates {
			if err := stream.Send(update); err != nil {
				return err
			}
		}
		version = now
		select {
		case <-changed:
		case <-stream.Context().Done():
			return toStatus(stream.Context().Err(), clusterv1.DirectoryGroup)
		case <-s.node.life.Done():
			return toStatus(fmt.Errorf("%w: the node is shutting down", ErrNotReady), clusterv1.DirectoryGroup)
		}
	}
}

// notLeader is the error of what only a group's leader answers.
func (n *Node) notLeader(groupID uint64) error {
	return &hintedError{fmt.Errorf("%w: this node does not lead group %d", ErrNotReady, groupID), n.leaderNode(groupID)}
}

// hintedError tells who leads.
type hintedError struct {
	error
	leader string
}

func (e *hintedError) Unwrap() error { return e.error }

func (s service) Heartbeat(_ context.Context, request *nodev1.HeartbeatRequest) (*nodev1.HeartbeatResponse, error) {
	c := s.node.controller.Load()
	if c == nil {
		return nil, toStatus(s.node.notLeader(clusterv1.DirectoryGroup), clusterv1.DirectoryGroup)
	}
	if err := c.hear(request.GetReport()); err != nil {
		return nil, toStatus(err, clusterv1.DirectoryGroup)
	}
	return &nodev1.HeartbeatResponse{MapVersion: s.node.maps.version()}, nil
}

func (s service) ClusterState(ctx context.Context, _ *nodev1.ClusterStateRequest) (*nodev1.ClusterStateResponse, error) {
	c := s.node.controller.Load()
	if c == nil {
		return nil, toStatus(s.node.notLeader(clusterv1.DirectoryGroup), clusterv1.DirectoryGroup)
	}
	answer, err := c.state(ctx)
	return answer, toStatus(err, clusterv1.DirectoryGroup)
}

func (s service) Operate(ctx context.Context, request *nodev1.OperateRequest) (*nodev1.OperateResponse, error) {
	c := s.node.controller.Load()
	if c == nil {
		return nil, toStatus(s.node.notLeader(clusterv1.DirectoryGroup), clusterv1.DirectoryGroup)
	}
	answer, err := c.operate(ctx, request)
	return answer, toStatus(err, clusterv1.DirectoryGroup)
}

func (s service) ChangeMembership(ctx context.Context, request *nodev1.ChangeMembershipRequest) (*nodev1.ChangeMembershipResponse, error) {
	g, err := s.group(request.GetGroupId())
	if err == nil {
		err = g.changeMembership(ctx, request)
	}
	return &nodev1.ChangeMembershipResponse{}, toStatus(err, request.GetGroupId())
}

func (s service) GroupMembership(ctx context.Context, request *nodev1.GroupMembershipRequest) (*nodev1.GroupMembershipResponse, error) {
	g, err := s.group(request.GetGroupId())
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	ctx, cancel := context.WithTimeout(ctx, membershipTimeout)
	defer cancel()
	m, err := g.membership(ctx)
	return &nodev1.GroupMembershipResponse{Membership: m}, toStatus(err, request.GetGroupId())
}

func (s service) TransferLeader(_ context.Context, request *nodev1.TransferLeaderRequest) (*nodev1.TransferLeaderResponse, error) {
	g, err := s.group(request.GetGroupId())
	if err == nil {
		err = g.transferLeader(request.GetReplicaId())
	}
	return &nodev1.TransferLeaderResponse{}, toStatus(err, request.GetGroupId())
}

// ReplaceRanges is refused in the answer, not by an error, if the group does not
// own the ranges: repeating it would not help.
func (s service) ReplaceRanges(ctx context.Context, request *nodev1.ReplaceRangesRequest) (*nodev1.ReplaceRangesResponse, error) {
	g, err := s.dataGroup(request.GetGroupId())
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	payload, err := request.GetRanges().MarshalVT()
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	result, err := g.Propose(ctx, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_REPLACE_RANGES, RequestId: newRequestID(), Payload: payload})
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY:
		return &nodev1.ReplaceRangesResponse{}, nil
	case raftlogv1.Result_STATUS_ROUTE:
		// The group has no identity yet.
		return nil, toStatus(&statemachine.RouteRefusal{Detail: result.GetRoute()}, request.GetGroupId())
	default:
		return &nodev1.ReplaceRangesResponse{Refusal: result.GetMessage(), Current: result.GetRoute().GetCurrent()}, nil
	}
}

// mapTimeout bounds a read of the map: it is short.
const mapTimeout = 5 * time.Second

// RangeMap reads the directory. The map of now is never older than one that
// the caller has seen; min_version only guards against a directory that was
// rewound. The limits of reads do not count: a busy node still shows the way.
func (s service) RangeMap(ctx context.Context, request *nodev1.RangeMapRequest) (*nodev1.RangeMapResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, mapTimeout)
	defer cancel()
	g := s.node.group(clusterv1.DirectoryGroup)
	if g == nil && !request.GetForwarded() {
		return forward(ctx, s.node, func(ctx context.Context, client nodev1.NodeServiceClient) (*nodev1.RangeMapResponse, error) {
			return client.RangeMap(ctx, &nodev1.RangeMapRequest{MinVersion: request.GetMinVersion(), Forwarded: true})
		})
	}
	if g == nil {
		return nil, toStatus(fmt.Errorf("group %d: %w", clusterv1.DirectoryGroup, ErrNotHere), clusterv1.DirectoryGroup)
	}
	answer, err := g.Read(ctx, statemachine.ReadMap{})
	if err != nil {
		return nil, toStatus(err, clusterv1.DirectoryGroup)
	}
	m := answer.(*clusterv1.RangeMap)
	if m == nil || m.GetCluster().GetMapVersion() < request.GetMinVersion() {
		return nil, toStatus(fmt.Errorf("%w: the directory has map version %d, asked for %d", ErrNotReady, m.GetCluster().GetMapVersion(), request.GetMinVersion()), clusterv1.DirectoryGroup)
	}
	return &nodev1.RangeMapResponse{Map: m}, nil
}

// GroupStatus describes the replicas on the node, however far they are.
func (s service) GroupStatus(context.Context, *nodev1.GroupStatusRequest) (*nodev1.GroupStatusResponse, error) {
	response := &nodev1.GroupStatusResponse{NodeId: s.node.ID()}
	for _, g := range s.node.all() {
		response.Replicas = append(response.Replicas, g.describe())
	}
	response.Replicas = append(response.Replicas, s.node.absent()...)
	return response, nil
}
