package router

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	// Elections of the directory included.
	operateBudget = 10 * time.Second
	// After that the cluster is described without the directory.
	stateBudget = 5 * time.Second
	// Bounds the first attempt of both; see attempt.bound.
	directoryBound = 2 * time.Second
)

// Operate has the directory's leader change the cluster. All attempts carry one
// request id, the caller's if it has one of 16 bytes: so a repeat is safe. Refusals
// are passed on with code and text. UNAVAILABLE leaves open what was done.
func (s *adminService) Operate(ctx context.Context, request *adminv1.OperateRequest) (*adminv1.OperateResponse, error) {
	if request.GetOperation() == nil {
		return nil, status.Error(codes.InvalidArgument, "operation is required")
	}
	operation := proto.Clone(request.GetOperation()).(*nodev1.OperateRequest)
	switch len(operation.GetRequestId()) {
	case 16:
	case 0:
		operation.RequestId = make([]byte, 16)
		if _, err := rand.Read(operation.RequestId); err != nil {
			return nil, status.Errorf(codes.Internal, "make a request id: %v", err)
		}
	default:
		return nil, status.Errorf(codes.InvalidArgument, "request_id has %d bytes; leave it out, or give 16", len(operation.GetRequestId()))
	}
	// The codec did not check that texts are UTF-8, and they will be stored.
	if _, err := proto.Marshal(operation); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "the operation cannot be passed on: %v", err)
	}
	outcome := &nodev1.OperateResponse{}
	err := s.router.fanout.directory(ctx, operateCall, operateBudget, func(ctx context.Context, node nodev1.NodeServiceClient, _ part) (take, error) {
		answer, err := node.Operate(ctx, operation)
		return func() error { outcome = answer; return nil }, err
	})
	if err != nil {
		return nil, err
	}
	return &adminv1.OperateResponse{Outcome: outcome}, nil
}

// ClusterState describes the cluster as the directory's leader sees it. If there
// is none the router says what it knows itself: an operator looks at a broken
// cluster, too.
func (s *adminService) ClusterState(ctx context.Context, _ *adminv1.ClusterStateRequest) (*adminv1.ClusterStateResponse, error) {
	response := &adminv1.ClusterStateResponse{}
	budget := stateBudget
	if deadline, limited := ctx.Deadline(); limited {
		// Asking the nodes takes time, too.
		budget = min(budget, time.Until(deadline)/2)
	}
	err := s.router.fanout.directory(ctx, stateCall, budget, func(ctx context.Context, node nodev1.NodeServiceClient, _ part) (take, error) {
		answer, err := node.ClusterState(ctx, &nodev1.ClusterStateRequest{})
		return func() error { response.State = answer; return nil }, err
	})
	m := s.router.source.Map()
	if err == nil {
		return response, nil
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated:
		return nil, err
	}
	if m == nil || ctx.Err() != nil {
		return nil, err
	}
	response.State = s.withoutDirectory(ctx, m, err)
	return response, nil
}

// directory has the directory's leader answer a call, or returns an error for an
// operator. The calls must be idempotent.
func (f *fanout) directory(ctx context.Context, name string, budget time.Duration, ask ask) (err error) {
	inner, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	defer f.recover(name, &err)
	j := &job{fanout: f, name: name, ask: ask, slots: make(chan struct{}, 1), first: directoryBound}
	err = j.lead(inner, clusterv1.DirectoryGroup)
	var spent *spentError
	if code := asStatus(err).Code(); err != nil && (errors.As(err, &spent) || code == codes.Canceled || code == codes.DeadlineExceeded) {
		return f.ended(ctx, inner, name, err)
	}
	if err != nil {
		return status.Error(asStatus(err).Code(), asStatus(err).Message())
	}
	return nil
}

// lead asks the replicas of a group until its leader has answered.
func (j *job) lead(ctx context.Context, group uint64) error {
	var (
		next   attempt
		pauses backoff
	)
	for {
		m, err := j.source.Await(ctx)
		if err != nil {
			return &spentError{err}
		}
		p := part{group: group}
		node, err := j.try(ctx, m, p, next)
		pause := pauses.retry
		switch v := judge(err); v.action {
		case accept:
			j.answered(group, node)
			return nil
		case surface:
			return err
		case relieve:
			pause = pauses.overload
		default:
			j.failed(m, group, node, err)
			if v.outcome == timedOut {
				next.timeouts++
			}
			if next.tried = append(next.tried, node); len(next.tried) >= len(m.Group(group).GetReplicas()) {
				next.tried = nil
				j.source.join()
			}
		}
		if err := j.pause(ctx, p, err, pause); err != nil {
			return err
		}
	}
}

// withoutDirectory is what the map and the nodes say.
func (s *adminService) withoutDirectory(ctx context.Context, m *clusterv1.Map, cause error) *nodev1.ClusterStateResponse {
	statuses := s.askAll(ctx, m)
	state := &nodev1.ClusterStateResponse{Map: m.Proto()}
	alive, led := map[string]bool{}, map[uint64]bool{}
	var silent []*nodev1.Finding
	for i, node := range m.Proto().GetNodes() {
		answer, id := statuses[i], node.GetNodeId()
		alive[id] = answer.GetError() == ""
		liveness := &nodev1.NodeLiveness{NodeId: id, Alive: alive[id], SilentFor: -1}
		if alive[id] {
			liveness.Report = &nodev1.NodeReport{Node: node, Replicas: answer.GetReplicas(), MapVersion: m.Version()}
		} else if node.GetState() != clusterv1.NodeState_NODE_STATE_REMOVED {
			silent = append(silent, &nodev1.Finding{
				Severity: nodev1.Finding_SEVERITY_WARNING, Code: "node-silent", Subject: "node " + id,
				Cause:       "the router cannot reach it at " + node.GetApiAddress() + ": " + answer.GetError(),
				Consequence: "its replicas count as lost as long as it is silent",
				Command:     "start the node again, or mend its network",
			})
		}
		for _, replica := range answer.GetReplicas() {
			led[replica.GetGroupId()] = led[replica.GetGroupId()] || replica.GetLeaderReplicaId() != 0
		}
		state.Nodes = append(state.Nodes, liveness)
	}
	state.Findings = append(state.Findings, directoryFinding(m, alive, cause))
	for _, group := range m.Proto().GetGroups() {
		if id := group.GetGroupId(); id != clusterv1.DirectoryGroup && !led[id] {
			up, places := members(m, group, alive)
			state.Findings = append(state.Findings, &nodev1.Finding{
				Severity: nodev1.Finding_SEVERITY_CRITICAL, Code: "no-quorum", Subject: fmt.Sprintf("group %d", id),
				Cause:       fmt.Sprintf("no replica that answers knows a leader; %d of its %d nodes answer", up, len(places)),
				Consequence: "writes to its ranges and reads of them fail",
				Command:     "start its nodes: " + strings.Join(places, ", "),
			})
		}
	}
	state.Findings = append(state.Findings, silent...)
	return state
}

func directoryFinding(m *clusterv1.Map, alive map[string]bool, cause error) *nodev1.Finding {
	up, places := members(m, m.Group(clusterv1.DirectoryGroup), alive)
	return &nodev1.Finding{
		Severity: nodev1.Finding_SEVERITY_CRITICAL, Code: "directory-unavailable", Subject: fmt.Sprintf("group %d", clusterv1.DirectoryGroup),
		Cause: fmt.Sprintf("the directory's leader does not answer (%s); %d of its %d nodes do", asStatus(cause).Message(), up, len(places)),
		Consequence: fmt.Sprintf("writes and queries go on with the map as it is, version %d; nodes, groups and ranges cannot change, and lost replicas are not made anew",
			m.Version()),
		Command: "start its nodes: " + strings.Join(places, ", "),
	}
}

// members counts the nodes of a group that live, and names those that do not
// first.
func members(m *clusterv1.Map, group *clusterv1.Group, alive map[string]bool) (up int, places []string) {
	for _, replica := range group.GetReplicas() {
		id := replica.GetNodeId()
		place := id + " (" + m.Node(id).GetApiAddress() + ")"
		if alive[id] {
			up++
			places = append(places, place)
		} else {
			places = slices.Insert(places, 0, place+", which does not answer")
		}
	}
	return up, places
}

// askAll asks all nodes of a map for their status at the same time; the answers
// are in the map's order.
func (s *adminService) askAll(ctx context.Context, m *clusterv1.Map) []*adminv1.NodeStatus {
	var (
		all     sync.WaitGroup
		answers []*adminv1.NodeStatus
		slots   = make(chan struct{}, s.router.options.FanOut)
	)
	for _, node := range m.Proto().GetNodes() {
		answer := &adminv1.NodeStatus{NodeId: node.GetNodeId()}
		answers = append(answers, answer)
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			replicas, err := s.ask(ctx, node)
			if err != nil {
				answer.Error = asStatus(err).Message()
				if answer.Error == "" {
					answer.Error = "no reason given"
				}
				return
			}
			answer.Replicas = replicas
		})
	}
	all.Wait()
	return answers
}
