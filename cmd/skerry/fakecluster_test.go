package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	nodeA = "aaaaaaaa-1111"
	nodeB = "bbbbbbbb-2222"
	nodeC = "cccccccc-3333"
	nodeD = "cccccccc-4444" // begins as C does
	nodeE = "dddddddd-5555" // removed; its address is A's now
)

// fakeCluster is a directory's leader that takes its time: what is asked of it
// happens step by step, one each time somebody looks.
type fakeCluster struct {
	mutex sync.Mutex
	state *nodev1.ClusterStateResponse
	steps []func()
	// Answers ClusterState instead of the state.
	fault error
	// Faults of the looks to come, one each; nil for an answer.
	faults []error
	wanted []*nodev1.OperateRequest
	// Looks to come at which the directory has no leader.
	leaderless int
	// The router finds nothing wrong.
	well bool
	// Transfers wait for long.
	late bool
	// Dead letters are not recovered.
	letters bool
	// Compaction of group 3 is.
	paused bool
}

// heal makes that nothing is wrong.
func (f *fakeCluster) heal() {
	f.well, f.late, f.paused = true, false, false
	f.state.Findings, f.state.Plan = nil, nil
	for _, node := range f.state.Map.Nodes {
		node.Version, node.MaxFormat = "v1.2.3", 1
	}
	for _, live := range f.state.Nodes {
		live.Alive = true
		if live.Report != nil {
			live.Report.MapVersion = 7
		}
	}
}

func newFakeCluster() *fakeCluster {
	node := func(id, at, zone, version string, state clusterv1.NodeState) *clusterv1.Node {
		return &clusterv1.Node{
			NodeId: id, ApiAddress: at + ":9095", RaftAddress: at + ":9099", Zone: zone, Version: version, State: state,
			Boots: 3, MinFormat: 1, MaxFormat: 2, JoinedAt: ago(48 * time.Hour),
		}
	}
	replica := func(id uint64, node string, role clusterv1.ReplicaRole) *clusterv1.Replica {
		return &clusterv1.Replica{ReplicaId: id, NodeId: node, Role: role}
	}
	const voter, learner, leaving = clusterv1.ReplicaRole_REPLICA_ROLE_VOTER, clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER, clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING
	const up, removed = clusterv1.NodeState_NODE_STATE_UP, clusterv1.NodeState_NODE_STATE_REMOVED
	tenant, stream := clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.Keyspace_KEYSPACE_STREAM
	ranges := []*clusterv1.Range{
		{RangeId: 1, Keyspace: tenant, Hi: 0x8000 << 48, GroupId: 2, Epoch: 4},
		{RangeId: 2, Keyspace: tenant, Lo: 0x8000 << 48, GroupId: 3, Epoch: 1, OperationId: 7},
		{RangeId: 3, Keyspace: stream, GroupId: 2, Epoch: 1},
	}
	nodes := []*clusterv1.Node{
		node(nodeA, "n1", "z1", "v1.2.3", up), node(nodeB, "n2", "z2", "v1.2.3", up), node(nodeC, "n3", "z3", "v1.2.3", up),
		node(nodeD, "n4", "", "\x1b[2Jv9", up), node(nodeE, "n1", "z1", "v1.0.0", removed),
	}
	nodes[2].StateReason, nodes[4].MaxFormat = "ops@box:\n\x1b[2J", 1
	report := func(group, id, lead, term, applied uint64) *nodev1.GroupReplica {
		return &nodev1.GroupReplica{
			GroupId: group, ReplicaId: id, LeaderReplicaId: lead, Term: term, AppliedIndex: applied, Blocks: 1234, ObjectBytes: 3 << 20,
			State: nodev1.ReplicaState_REPLICA_STATE_RUNNING,
		}
	}
	disk := func(free uint64, level nodev1.DiskReport_Level, health nodev1.DiskReport_Health) *nodev1.DiskReport {
		return &nodev1.DiskReport{FreeBytes: free << 30, TotalBytes: 100 << 30, Level: level, Health: health}
	}
	broken := report(3, 13, 0, 0, 0)
	broken.Error, broken.State = "cannot be\x1b opened", nodev1.ReplicaState_REPLICA_STATE_FAILED
	return &fakeCluster{late: true, paused: true, state: &nodev1.ClusterStateResponse{
		LeaderNodeId: nodeA,
		Map: &clusterv1.RangeMap{
			Cluster: &clusterv1.Cluster{ClusterId: "c0ffee", MapVersion: 7, ActiveVersion: 1, Settings: &clusterv1.Settings{DirectoryReplicas: 3}},
			Nodes:   nodes, Ranges: ranges,
			Groups: []*clusterv1.Group{
				{GroupId: 1, State: clusterv1.GroupState_GROUP_STATE_ACTIVE, Replicas: []*clusterv1.Replica{replica(1, nodeA, voter), replica(2, nodeB, voter), replica(3, nodeC, voter)}},
				{GroupId: 2, State: clusterv1.GroupState_GROUP_STATE_ACTIVE, Replicas: []*clusterv1.Replica{replica(4, nodeA, voter), replica(5, nodeB, leaving), replica(6, nodeC, voter), replica(7, nodeD, learner)}},
				{GroupId: 3, State: clusterv1.GroupState_GROUP_STATE_CREATING, Replicas: []*clusterv1.Replica{replica(13, nodeC, voter)}},
			},
		},
		Nodes: []*nodev1.NodeLiveness{
			{NodeId: nodeA, Alive: true, SilentFor: int64(400 * time.Millisecond), Report: &nodev1.NodeReport{
				MapVersion: 7, Disk: disk(62, nodev1.DiskReport_LEVEL_NORMAL, nodev1.DiskReport_HEALTH_GOOD),
				Replicas: []*nodev1.GroupReplica{report(1, 1, 1, 9, 100), report(2, 4, 4, 5, 900)},
			}},
			// Fell silent when it led group 2.
			{NodeId: nodeB, SilentFor: int64(90 * time.Second), Report: &nodev1.NodeReport{
				MapVersion: 3, Disk: disk(1, nodev1.DiskReport_LEVEL_NORMAL, nodev1.DiskReport_HEALTH_GOOD), Replicas: []*nodev1.GroupReplica{report(2, 5, 5, 4, 800)},
			}},
			{NodeId: nodeC, Alive: true, Report: &nodev1.NodeReport{
				MapVersion: 7, Stopping: true, Disk: disk(4, nodev1.DiskReport_LEVEL_LOW, nodev1.DiskReport_HEALTH_SLOW),
				Replicas: []*nodev1.GroupReplica{report(1, 3, 1, 9, 100), report(2, 6, 4, 5, 893), broken},
			}},
			{NodeId: nodeD, Alive: true, SilentFor: -1},
		},
		Operations: []*clusterv1.Operation{
			{OperationId: 7, Kind: clusterv1.Operation_KIND_SPLIT, State: clusterv1.Operation_STATE_RUNNING, GroupId: 3, Before: ranges[1:2], Actor: "ops@box", StartedAt: ago(time.Minute), After: []*clusterv1.Range{
				{RangeId: 4, Keyspace: tenant, Lo: 0x8000 << 48, Hi: 0xc000 << 48}, {RangeId: 5, Keyspace: tenant, Lo: 0xc000 << 48},
			}},
			{OperationId: 6, Kind: clusterv1.Operation_KIND_MERGE, State: clusterv1.Operation_STATE_FAILED, GroupId: 2, Actor: "x", Reason: "tidy\x1b up", Error: "refused:\n\x1b[2J", StartedAt: ago(time.Hour), EndedAt: ago(time.Hour - 3*time.Second)},
		},
		Findings: []*nodev1.Finding{
			{Severity: nodev1.Finding_SEVERITY_INFO, Code: "leaders-uneven", Subject: "cluster", Cause: "node aaaaaaaa leads 2 groups", Consequence: "none"},
			{Severity: nodev1.Finding_SEVERITY_WARNING, Code: "node-silent", Subject: "node " + nodeB, Cause: "silent for 1m30s\x1b[2J", Consequence: "its replicas are made anew in 3m30s", Command: "start it, or: skerry replace bbbbbbbb"},
			{Severity: nodev1.Finding_SEVERITY_CRITICAL, Code: "no-quorum", Subject: "group 3", Cause: "no voter works", Consequence: "half of the tenants", Command: "look at node cccccccc-3333"},
		},
		Plan: []string{"group 2: remove replica 5", "group 3:\n\x1b[2Jwaits"},
	}}
}

func (f *fakeCluster) ClusterState(context.Context, *adminv1.ClusterStateRequest) (*adminv1.ClusterStateResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.fault != nil {
		return nil, f.fault
	}
	if len(f.faults) > 0 {
		fault := f.faults[0]
		f.faults = f.faults[1:]
		if fault != nil {
			return nil, fault
		}
	}
	answer := proto.Clone(f.state).(*nodev1.ClusterStateResponse)
	if f.leaderless > 0 {
		// What a router says without the directory.
		f.leaderless--
		answer.LeaderNodeId, answer.Operations, answer.Plan = "", nil, nil
		return &adminv1.ClusterStateResponse{State: answer}, nil
	}
	if len(f.steps) > 0 {
		f.steps[0]()
		f.steps = f.steps[1:]
	}
	return &adminv1.ClusterStateResponse{State: answer}, nil
}

func (f *fakeCluster) Operate(_ context.Context, request *adminv1.OperateRequest) (*adminv1.OperateResponse, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	operation := request.GetOperation()
	f.wanted = append(f.wanted, operation)
	if f.fault != nil {
		return nil, f.fault
	}
	if len(operation.GetRequestId()) != 16 {
		return nil, status.Errorf(codes.InvalidArgument, "request id has %d bytes", len(operation.GetRequestId()))
	}
	outcome := &nodev1.OperateResponse{Steps: []string{
		fmt.Sprintf("asked by %s\x1b (%s)", operation.GetActor(), operation.GetReason()),
	}}
	if err := f.operate(operation, outcome); err != nil {
		return nil, err
	}
	if operation.GetDryRun() {
		outcome.Changed, f.steps = false, nil
	} else if outcome.Changed {
		f.state.Map.Cluster.MapVersion++
	}
	outcome.MapVersion = f.state.Map.Cluster.MapVersion
	return &adminv1.OperateResponse{Outcome: outcome}, nil
}

func (f *fakeCluster) operate(request *nodev1.OperateRequest, outcome *nodev1.OperateResponse) error {
	outcome.Changed = true
	switch action := request.GetAction().(type) {
	case *nodev1.OperateRequest_SetNodeState:
		id, state := action.SetNodeState.GetNodeId(), action.SetNodeState.GetState()
		node := (cluster{f.state}).node(id)
		if id == nodeA && state == clusterv1.NodeState_NODE_STATE_DECOMMISSIONING && !request.GetForce() {
			return status.Error(codes.FailedPrecondition, "group 2 would have 2 of 3 voters:\n\x1b[2Jadd a node first, or use -force")
		}
		if outcome.Changed = node.GetState() != state; !outcome.Changed || request.GetDryRun() {
			return nil
		}
		node.State = state
		f.carryOut(id, state)
	case *nodev1.OperateRequest_CreateGroups:
		for range action.CreateGroups.GetCount() {
			group := &clusterv1.Group{GroupId: uint64(len(f.state.Map.Groups) + 1), State: clusterv1.GroupState_GROUP_STATE_CREATING}
			outcome.GroupIds = append(outcome.GroupIds, group.GroupId)
			if !request.GetDryRun() {
				f.state.Map.Groups = append(f.state.Map.Groups, group)
				f.steps = append(f.steps, func() { group.State = clusterv1.GroupState_GROUP_STATE_ACTIVE })
			}
		}
	case *nodev1.OperateRequest_Split:
		outcome.Steps = append(outcome.Steps, fmt.Sprintf("split range %d at %016x", action.Split.GetRangeId(), action.Split.GetAt()))
		if action.Split.GetRangeId() > 3 {
			return status.Errorf(codes.NotFound, "there is no range %d", action.Split.GetRangeId())
		}
		if !request.GetDryRun() {
			f.begin(outcome, action.Split.GetRangeId() == 3)
		}
	case *nodev1.OperateRequest_Merge:
		f.begin(outcome, false)
		f.steps = nil // it never ends
	case *nodev1.OperateRequest_TransferLeader:
		id := action.TransferLeader.GetGroupId()
		target := (cluster{f.state}).replicaOf(id, action.TransferLeader.GetNodeId())
		f.steps = append(f.steps, func() {}, func() { f.lead(id, target) })
	case *nodev1.OperateRequest_ChangeSettings:
		outcome.Steps = append(outcome.Steps, fmt.Sprintf("voters %d and %d, repair after %d, balance off %v", action.ChangeSettings.GetSettings().GetReplicationFactor(),
			action.ChangeSettings.GetSettings().GetDirectoryReplicas(), action.ChangeSettings.GetSettings().GetRepairAfter(), action.ChangeSettings.GetSettings().GetLeaderBalanceOff()))
		if !request.GetDryRun() {
			f.state.Map.Cluster.Settings = action.ChangeSettings.GetSettings()
		}
	case *nodev1.OperateRequest_ActivateFormat:
		if !request.GetDryRun() {
			f.state.Map.Cluster.ActiveVersion = action.ActivateFormat.GetFormat()
		}
	default:
		return status.Error(codes.InvalidArgument, "no action")
	}
	return nil
}

// carryOut takes leaders or replicas from a node, one a step.
func (f *fakeCluster) carryOut(id string, state clusterv1.NodeState) {
	if state == clusterv1.NodeState_NODE_STATE_UP {
		return
	}
	for _, group := range f.state.Map.Groups {
		for _, replica := range group.Replicas {
			if replica.NodeId != id {
				continue
			}
			f.steps = append(f.steps, func() {
				if state == clusterv1.NodeState_NODE_STATE_DRAINING {
					f.lead(group.GroupId, (cluster{f.state}).replicaOf(group.GroupId, nodeC))
					return
				}
				group.Replicas = slices.DeleteFunc(group.Replicas, func(r *clusterv1.Replica) bool { return r.NodeId == id })
			})
		}
	}
	if state != clusterv1.NodeState_NODE_STATE_DRAINING {
		f.steps = append(f.steps, func() { (cluster{f.state}).node(id).State = clusterv1.NodeState_NODE_STATE_REMOVED })
	}
}

// replicaOf is a group's replica on a node, or another one than the leader's.
func (s cluster) replicaOf(group uint64, node string) uint64 {
	for _, r := range s.group(group).GetReplicas() {
		if r.GetNodeId() == node || node == "" && r.GetNodeId() != s.leader(group).node {
			return r.GetReplicaId()
		}
	}
	return 0
}

// lead makes a replica the leader, in everybody's eyes.
func (f *fakeCluster) lead(group, replica uint64) {
	for _, live := range f.state.Nodes {
		for _, report := range live.GetReport().GetReplicas() {
			if report.GroupId == group {
				report.LeaderReplicaId = replica
				report.Term += 10
			}
		}
	}
}

// begin begins an operation that ends after some steps.
func (f *fakeCluster) begin(outcome *nodev1.OperateResponse, fails bool) {
	outcome.OperationId = uint64(6 + len(f.state.Operations))
	operation := &clusterv1.Operation{OperationId: outcome.OperationId, State: clusterv1.Operation_STATE_RUNNING}
	end := func() {
		operation.State = clusterv1.Operation_STATE_DONE
		if fails {
			operation.State, operation.Error = clusterv1.Operation_STATE_FAILED, "group 2 does not own it\x1b"
		}
	}
	f.state.Operations = append(f.state.Operations, operation)
	f.steps = append(f.steps, func() {}, end)
}
