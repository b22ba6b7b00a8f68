package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// createGroupsMax bounds the groups that one request makes.
const createGroupsMax = 256

// operate carries out what an operator wants, or says what would happen. A repeat
// with the same request id changes nothing more.
func (c *controller) operate(ctx context.Context, request *nodev1.OperateRequest) (*nodev1.OperateResponse, error) {
	if len(request.GetRequestId()) != requestIDBytes {
		return nil, fmt.Errorf("%w: the request id has %d bytes, want %d", ErrBadRequest, len(request.GetRequestId()), requestIDBytes)
	}
	picture, _, err := c.picture()
	if err != nil {
		return nil, err
	}
	o := &operating{controller: c, request: request, picture: picture}
	switch action := request.GetAction().(type) {
	case *nodev1.OperateRequest_SetNodeState:
		return o.setNodeState(ctx, action.SetNodeState)
	case *nodev1.OperateRequest_CreateGroups:
		return o.createGroups(ctx, action.CreateGroups)
	case *nodev1.OperateRequest_Split:
		return o.split(ctx, action.Split)
	case *nodev1.OperateRequest_Merge:
		return o.merge(ctx, action.Merge)
	case *nodev1.OperateRequest_TransferLeader:
		return o.transferLeader(ctx, action.TransferLeader)
	case *nodev1.OperateRequest_ChangeSettings:
		return o.change(ctx, []string{fmt.Sprintf("the settings become: %v", action.ChangeSettings.GetSettings())},
			&raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_ChangeSettings{ChangeSettings: action.ChangeSettings}})
	case *nodev1.OperateRequest_ActivateFormat:
		return o.change(ctx, []string{fmt.Sprintf("data format %d is used from now on: older builds cannot be started any more", action.ActivateFormat.GetFormat())},
			&raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_ActivateFormat{ActivateFormat: action.ActivateFormat}})
	default:
		return nil, fmt.Errorf("%w: no action that this release knows", ErrBadRequest)
	}
}

// operating is one request of an operator.
type operating struct {
	*controller
	request *nodev1.OperateRequest
	picture placement.Picture
}

// change makes one change of the directory.
func (o *operating) change(ctx context.Context, steps []string, change *raftlogv1.DirectoryChange) (*nodev1.OperateResponse, error) {
	if o.request.GetDryRun() {
		return &nodev1.OperateResponse{Steps: steps, MapVersion: o.picture.Map.GetCluster().GetMapVersion()}, nil
	}
	change.Actor, change.Reason = o.request.GetActor(), o.request.GetReason()
	outcome, changed, err := o.node.changeDirectory(ctx, o.request.GetRequestId(), change)
	if err != nil {
		return nil, o.refusal(err, change.GetExpectedMapVersion())
	}
	wake(o.wake)
	return &nodev1.OperateResponse{Changed: changed, Steps: steps, MapVersion: outcome.GetMapVersion(), OperationId: outcome.GetOperationId()}, nil
}

// refusal words what the directory refused for the operator: it is no fault of the
// node, and if only the map moved on, the same again is judged anew.
func (o *operating) refusal(err error, expected uint64) error {
	if !errors.Is(err, ErrRefused) {
		return err
	}
	if now, _, fault := o.controller.picture(); expected != 0 && fault == nil && now.Map.GetCluster().GetMapVersion() != expected {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return fmt.Errorf("%w: %w", ErrUnwise, err)
}

func (o *operating) setNodeState(ctx context.Context, want *raftlogv1.SetNodeState) (*nodev1.OperateResponse, error) {
	if want.GetState() == clusterv1.NodeState_NODE_STATE_REMOVED || want.GetState() == clusterv1.NodeState_NODE_STATE_UNSPECIFIED {
		return nil, fmt.Errorf("%w: a node is made UP, DRAINING, DECOMMISSIONING or LOST; REMOVED follows by itself", ErrBadRequest)
	}
	verdict := placement.Check(o.picture, o.placement(), want.GetNodeId(), want.GetState())
	if len(verdict.Impossible) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrUnwise, strings.Join(verdict.Impossible, "; "))
	}
	if len(verdict.Obstacles) > 0 && !o.request.GetForce() {
		return nil, fmt.Errorf("%w: %s (force it if you know better)", ErrUnwise, strings.Join(verdict.Obstacles, "; "))
	}
	return o.change(ctx, verdict.Steps, &raftlogv1.DirectoryChange{
		// Judged on this map; another change since may have made it unwise.
		ExpectedMapVersion: o.picture.Map.GetCluster().GetMapVersion(),
		Change:             &raftlogv1.DirectoryChange_SetNodeState{SetNodeState: want},
	})
}

func (o *operating) createGroups(ctx context.Context, want *nodev1.CreateGroupsAction) (*nodev1.OperateResponse, error) {
	count := int(want.GetCount())
	if count < 1 || count > createGroupsMax {
		return nil, fmt.Errorf("%w: %d groups to create, want 1 to %d", ErrBadRequest, count, createGroupsMax)
	}
	response := &nodev1.OperateResponse{MapVersion: o.picture.Map.GetCluster().GetMapVersion()}
	for i := range count {
		nodes, err := placement.ChooseNodes(o.picture, o.placement())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnwise, err)
		}
		response.Steps = append(response.Steps, fmt.Sprintf("an empty group with replicas on nodes %s", strings.Join(nodes, ", ")))
		if o.request.GetDryRun() {
			continue
		}
		// Each group has a request id of its own, the same in every repeat.
		id := append([]byte(nil), o.request.GetRequestId()...)
		id[0], id[1] = id[0]^byte(i), id[1]^byte(i>>8)
		outcome, changed, err := o.node.changeDirectory(ctx, id, &raftlogv1.DirectoryChange{
			Actor: o.request.GetActor(), Reason: o.request.GetReason(),
			Change: &raftlogv1.DirectoryChange_CreateGroup{CreateGroup: &raftlogv1.CreateGroup{NodeIds: nodes}},
		})
		if err != nil {
			return nil, o.refusal(err, 0)
		}
		response.Changed, response.MapVersion = response.Changed || changed, outcome.GetMapVersion()
		response.GroupIds = append(response.GroupIds, outcome.GetGroupId())
		if o.picture, _, err = o.controller.picture(); err != nil {
			return nil, err
		}
	}
	wake(o.wake)
	return response, nil
}

func (o *operating) split(ctx context.Context, want *nodev1.SplitAction) (*nodev1.OperateResponse, error) {
	r := o.findRange(want.GetRangeId())
	if r == nil {
		return nil, fmt.Errorf("%w: there is no range %d: see skerry ranges", ErrBadRequest, want.GetRangeId())
	}
	at := want.GetAt()
	if at == 0 {
		at = middle(r)
	}
	steps := []string{fmt.Sprintf("range %d of group %d is split at %016x; no data moves", r.GetRangeId(), r.GetGroupId(), at)}
	return o.change(ctx, steps, &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_StartSplit{
		StartSplit: &raftlogv1.StartSplit{RangeId: r.GetRangeId(), Epoch: r.GetEpoch(), At: at}}})
}

// middle is the point that halves a range. The end of the space is 2^64, which 0
// stands for: so is the width of the whole space.
func middle(r *clusterv1.Range) uint64 {
	if r.GetLo() == 0 && r.GetHi() == 0 {
		return 1 << 63
	}
	return r.GetLo() + (r.GetHi()-r.GetLo())/2
}

func (o *operating) merge(ctx context.Context, want *nodev1.MergeAction) (*nodev1.OperateResponse, error) {
	r := o.findRange(want.GetRangeId())
	if r == nil {
		return nil, fmt.Errorf("%w: there is no range %d: see skerry ranges", ErrBadRequest, want.GetRangeId())
	}
	var next *clusterv1.Range
	for _, other := range o.picture.Map.GetRanges() {
		if other.GetKeyspace() == r.GetKeyspace() && other.GetLo() == r.GetHi() && r.GetHi() != 0 {
			next = other
		}
	}
	if next == nil {
		return nil, fmt.Errorf("%w: range %d is the last of its keyspace: merge the one before it", ErrUnwise, r.GetRangeId())
	}
	if next.GetGroupId() != r.GetGroupId() {
		return nil, fmt.Errorf("%w: range %d belongs to group %d, the next range %d to group %d: only ranges of one group can be merged",
			ErrUnwise, r.GetRangeId(), r.GetGroupId(), next.GetRangeId(), next.GetGroupId())
	}
	steps := []string{fmt.Sprintf("ranges %d and %d of group %d become one; no data moves", r.GetRangeId(), next.GetRangeId(), r.GetGroupId())}
	return o.change(ctx, steps, &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_StartMerge{
		StartMerge: &raftlogv1.StartMerge{RangeId: r.GetRangeId(), Epoch: r.GetEpoch(), NextRangeId: next.GetRangeId(), NextEpoch: next.GetEpoch()}}})
}

func (o *operating) findRange(id uint64) *clusterv1.Range {
	for _, r := range o.picture.Map.GetRanges() {
		if r.GetRangeId() == id {
			return r
		}
	}
	return nil
}

func (o *operating) transferLeader(ctx context.Context, want *nodev1.TransferLeaderAction) (*nodev1.OperateResponse, error) {
	var group *clusterv1.Group
	for _, g := range o.picture.Map.GetGroups() {
		if g.GetGroupId() == want.GetGroupId() {
			group = g
		}
	}
	if group == nil {
		return nil, fmt.Errorf("%w: there is no group %d: see skerry groups", ErrBadRequest, want.GetGroupId())
	}
	leader := leaderOf(o.picture, group.GetGroupId())
	var to *clusterv1.Replica
	for _, replica := range group.GetReplicas() {
		if replica.GetRole() != clusterv1.ReplicaRole_REPLICA_ROLE_VOTER {
			continue
		}
		_, heard := o.picture.Nodes[replica.GetNodeId()]
		if replica.GetNodeId() == want.GetNodeId() || want.GetNodeId() == "" && replica.GetNodeId() != leader && heard {
			to = replica
		}
	}
	switch {
	case leader == "":
		return nil, fmt.Errorf("%w: group %d has no leader", ErrNotReady, group.GetGroupId())
	case to == nil && want.GetNodeId() != "":
		return nil, fmt.Errorf("%w: node %s has no voter of group %d", ErrUnwise, want.GetNodeId(), group.GetGroupId())
	case to == nil:
		return nil, fmt.Errorf("%w: group %d has no other voter to lead it", ErrUnwise, group.GetGroupId())
	}
	response := &nodev1.OperateResponse{
		Steps:      []string{fmt.Sprintf("leadership of group %d moves from node %s to node %s", group.GetGroupId(), leader, to.GetNodeId())},
		MapVersion: o.picture.Map.GetCluster().GetMapVersion(),
	}
	if o.request.GetDryRun() || leader == to.GetNodeId() {
		return response, nil
	}
	_, err := o.act(ctx, o.picture, placement.Action{Kind: placement.TransferLeader, Group: group.GetGroupId(), Replica: to.GetReplicaId(), Node: to.GetNodeId()}, 0)
	response.Changed = err == nil
	return response, err
}
