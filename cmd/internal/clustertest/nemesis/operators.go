package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

const (
	// How long an operator tries.
	operatePatience = 4 * second
	// Bounds of what operators make: each is work for the machine that all share.
	groupsMax, rangesMax = 7, 24
	// Members that stay, at least.
	membersMin = 3
)

// operate does what an operator does, and reports a refusal as nothing.
func (n *Nemesis) operate(ctx context.Context, request *nodev1.OperateRequest) error {
	ctx, cancel := context.WithTimeout(ctx, operatePatience)
	defer cancel()
	request.Actor, request.Reason = "nemesis", "to see what happens"
	_, err := n.cluster.Operate(ctx, request)
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.FailedPrecondition, codes.InvalidArgument, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.ResourceExhausted:
	default:
		n.fault("operate %v: %v", request, err)
	}
	return nothing("%v", err)
}

// state is what operators see; whoever sees nothing does nothing.
func (n *Nemesis) state(ctx context.Context) (*nodev1.ClusterStateResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, operatePatience)
	defer cancel()
	state, err := n.cluster.State(ctx)
	if err != nil {
		return nil, nothing("state: %v", err)
	}
	return state, nil
}

func (n *Nemesis) setState(ctx context.Context, id string, state clusterv1.NodeState) error {
	return n.operate(ctx, &nodev1.OperateRequest{
		Force:  state == clusterv1.NodeState_NODE_STATE_LOST,
		Action: &nodev1.OperateRequest_SetNodeState{SetNodeState: &raftlogv1.SetNodeState{NodeId: id, State: state}},
	})
}

func transferLeader(ctx context.Context, n *Nemesis) (string, func() error, error) {
	state, err := n.state(ctx)
	if err != nil {
		return "", nil, err
	}
	groups := state.GetMap().GetGroups()
	group := groups[n.random.IntN(len(groups))]
	action := &nodev1.TransferLeaderAction{GroupId: group.GetGroupId()}
	if n.random.IntN(2) == 0 && len(group.GetReplicas()) > 0 {
		action.NodeId = group.GetReplicas()[n.random.IntN(len(group.GetReplicas()))].GetNodeId()
	}
	return fmt.Sprintf("group %d to %q", action.GetGroupId(), action.GetNodeId()), nil,
		n.operate(ctx, &nodev1.OperateRequest{Action: &nodev1.OperateRequest_TransferLeader{TransferLeader: action}})
}

// wanted is a member that the directory wants as it is.
func (n *Nemesis) wanted(ctx context.Context, state *nodev1.ClusterStateResponse) (*clustertest.Node, string, error) {
	for _, node := range n.some(len(n.ids)) {
		if id := n.id(ctx, node); id != "" && stateOf(state, id) == clusterv1.NodeState_NODE_STATE_UP {
			return node, id, nil
		}
	}
	return nil, "", nothing("no node is UP")
}

func stateOf(state *nodev1.ClusterStateResponse, id string) clusterv1.NodeState {
	for _, record := range state.GetMap().GetNodes() {
		if record.GetNodeId() == id {
			return record.GetState()
		}
	}
	return clusterv1.NodeState_NODE_STATE_UNSPECIFIED
}

func countOf(state *nodev1.ClusterStateResponse, of clusterv1.NodeState) int {
	count := 0
	for _, record := range state.GetMap().GetNodes() {
		if record.GetState() == of {
			count++
		}
	}
	return count
}

func drain(ctx context.Context, n *Nemesis) (string, func() error, error) {
	state, err := n.state(ctx)
	if err != nil {
		return "", nil, err
	}
	node, id, err := n.wanted(ctx, state)
	if err != nil {
		return "", nil, err
	}
	// Whether it was heard or not, it must be undone.
	n.owed[id] = clusterv1.NodeState_NODE_STATE_UP
	undo := func() error { return n.pay(ctx) }
	return node.Name, undo, n.setState(ctx, id, clusterv1.NodeState_NODE_STATE_DRAINING)
}

// pay tells the directory what it has not heard yet. What fails stays owed.
func (n *Nemesis) pay(ctx context.Context) error {
	for id, state := range n.owed {
		err := n.setState(ctx, id, state)
		var nothing *nothingError
		if errors.As(err, &nothing) {
			n.write(event{Fault: "owed", On: id, Result: err.Error()})
			continue
		}
		if err != nil {
			return err
		}
		delete(n.owed, id)
	}
	return nil
}

func join(_ context.Context, n *Nemesis) (string, func() error, error) {
	node := n.spare()
	if node == nil {
		return "", nil, nothing("no place is left")
	}
	n.ids[node] = ""
	return node.Name, nil, errors.Join(node.Wipe(), node.Start())
}

func decommission(ctx context.Context, n *Nemesis) (string, func() error, error) {
	state, err := n.state(ctx)
	if err != nil {
		return "", nil, err
	}
	if up := countOf(state, clusterv1.NodeState_NODE_STATE_UP); up <= membersMin {
		return "", nil, nothing("%d nodes are UP", up)
	}
	node, id, err := n.wanted(ctx, state)
	if err != nil {
		return "", nil, err
	}
	return node.Name, nil, n.setState(ctx, id, clusterv1.NodeState_NODE_STATE_DECOMMISSIONING)
}

// replace destroys a node's disk, says so, and starts an empty node in its place,
// or in another one.
func replace(ctx context.Context, n *Nemesis) (string, func() error, error) {
	state, err := n.state(ctx)
	if err == nil {
		err = whole(state)
	}
	if err != nil {
		return "", nil, err
	}
	node, id, err := n.wanted(ctx, state)
	if err != nil {
		return "", nil, err
	}
	if err := errors.Join(kill(node), node.Wipe()); err != nil {
		return node.Name, nil, err
	}
	delete(n.ids, node)
	n.owed[id] = clusterv1.NodeState_NODE_STATE_LOST
	undo := func() error {
		if err := n.pay(ctx); err != nil || n.owed[id] != 0 {
			return err // the join comes later, or not at all
		}
		_, _, err := join(ctx, n)
		return err
	}
	return node.Name, undo, nil
}

// whole demands that every group has all its replicas: then one disk may go.
func whole(state *nodev1.ClusterStateResponse) error {
	members := map[uint64]*nodev1.GroupReplica{}
	for _, node := range state.GetNodes() {
		for _, replica := range node.GetReport().GetReplicas() {
			if replica.GetLeaderReplicaId() == replica.GetReplicaId() && replica.GetTerm() >= members[replica.GetGroupId()].GetTerm() {
				members[replica.GetGroupId()] = replica
			}
		}
	}
	nodes := state.GetMap().GetNodes()
	if up, removed := countOf(state, clusterv1.NodeState_NODE_STATE_UP), countOf(state, clusterv1.NodeState_NODE_STATE_REMOVED); up < membersMin || up+removed < len(nodes) {
		return nothing("%d nodes of %d are UP", up, len(nodes)-removed)
	}
	for _, group := range state.GetMap().GetGroups() {
		voters := members[group.GetGroupId()].GetMembership().GetVoters()
		if len(voters) < membersMin || len(voters) != len(group.GetReplicas()) {
			return nothing("group %d has %d voters and %d records", group.GetGroupId(), len(voters), len(group.GetReplicas()))
		}
		for _, replica := range group.GetReplicas() {
			if voters[replica.GetReplicaId()] != replica.GetNodeId() || replica.GetRole() != clusterv1.ReplicaRole_REPLICA_ROLE_VOTER {
				return nothing("group %d changes its replicas", group.GetGroupId())
			}
		}
	}
	return nil
}

func split(ctx context.Context, n *Nemesis) (string, func() error, error) {
	state, err := n.state(ctx)
	if err != nil {
		return "", nil, err
	}
	ranges := state.GetMap().GetRanges()
	if len(ranges) >= rangesMax {
		return "", nil, nothing("there are %d ranges", len(ranges))
	}
	r := ranges[n.random.IntN(len(ranges))]
	action := &nodev1.SplitAction{RangeId: r.GetRangeId()}
	if width := r.GetHi() - r.GetLo(); width > 2 && n.random.IntN(2) == 0 {
		action.At = r.GetLo() + 1 + n.random.Uint64N(width-1)
	}
	return fmt.Sprintf("range %d of group %d", r.GetRangeId(), r.GetGroupId()), nil,
		n.operate(ctx, &nodev1.OperateRequest{Action: &nodev1.OperateRequest_Split{Split: action}})
}

func merge(ctx context.Context, n *Nemesis) (string, func() error, error) {
	state, err := n.state(ctx)
	if err != nil {
		return "", nil, err
	}
	var fit []*clusterv1.Range
	ranges := state.GetMap().GetRanges()
	for i, r := range ranges[:len(ranges)-1] {
		if next := ranges[i+1]; next.GetKeyspace() == r.GetKeyspace() && next.GetGroupId() == r.GetGroupId() {
			fit = append(fit, r)
		}
	}
	if len(fit) == 0 {
		return split(ctx, n) // for the next one
	}
	r := fit[n.random.IntN(len(fit))]
	return fmt.Sprintf("range %d of group %d", r.GetRangeId(), r.GetGroupId()), nil,
		n.operate(ctx, &nodev1.OperateRequest{Action: &nodev1.OperateRequest_Merge{Merge: &nodev1.MergeAction{RangeId: r.GetRangeId()}}})
}

func createGroup(ctx context.Context, n *Nemesis) (string, func() error, error) {
	state, err := n.state(ctx)
	if err != nil {
		return "", nil, err
	}
	if count := len(state.GetMap().GetGroups()); count >= groupsMax {
		return "", nil, nothing("there are %d groups", count)
	}
	return "", nil, n.operate(ctx, &nodev1.OperateRequest{Action: &nodev1.OperateRequest_CreateGroups{CreateGroups: &nodev1.CreateGroupsAction{Count: 1}}})
}

// id is the node id of a member, empty while it cannot be asked.
func (n *Nemesis) id(ctx context.Context, node *clustertest.Node) string {
	if n.ids[node] == "" && node.Process.Running() {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if id, err := n.cluster.ID(ctx, node); err == nil {
			n.ids[node] = id
		}
	}
	return n.ids[node]
}
