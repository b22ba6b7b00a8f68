package router

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// The directory of the fake cluster: n2 leads, others name it.
func (n *fakeNode) Operate(ctx context.Context, in *nodev1.OperateRequest) (*nodev1.OperateResponse, error) {
	if err := n.check(ctx, operateCall, 1, in); err != nil {
		return nil, err
	}
	if n.id != "n2" {
		return nil, leaderFault("n2")
	}
	return &nodev1.OperateResponse{Changed: true}, nil
}

func (n *fakeNode) ClusterState(ctx context.Context, in *nodev1.ClusterStateRequest) (*nodev1.ClusterStateResponse, error) {
	if err := n.check(ctx, stateCall, 1, in); err != nil {
		return nil, err
	}
	if n.id != "n2" {
		return nil, leaderFault("n2")
	}
	return &nodev1.ClusterStateResponse{LeaderNodeId: n.id}, nil
}

func operate(ctx context.Context, r *Router, operation *nodev1.OperateRequest) (*nodev1.OperateResponse, error) {
	answer, err := (&adminService{router: r}).Operate(ctx, &adminv1.OperateRequest{Operation: operation})
	return answer.GetOutcome(), err
}

func TestOperationsGoToTheDirectorysLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 5)
		r := c.start(t, Options{})
		// Answers get lost: the repeat carries the same id.
		c.setBefore(failing(operateCall, 3, status.Error(codes.Unavailable, "connection reset")))
		for range 10 {
			outcome, err := operate(t.Context(), r, &nodev1.OperateRequest{Actor: "me"})
			if err != nil || !outcome.GetChanged() {
				t.Fatalf("got %v, %v", outcome, err)
			}
			state, err := (&adminService{router: r}).ClusterState(t.Context(), &adminv1.ClusterStateRequest{})
			if err != nil || state.GetState().GetLeaderNodeId() != "n2" {
				t.Fatalf("got %v, %v", state, err)
			}
			time.Sleep(2 * restTime)
		}
		calls := c.calls(operateCall)
		if len(calls) > 9+15 {
			t.Errorf("%d calls for 10 operations", len(calls))
		}
		ids := map[string]int{}
		for _, e := range calls {
			ids[string(e.request.(*nodev1.OperateRequest).GetRequestId())]++
		}
		first := calls[0].request.(*nodev1.OperateRequest).GetRequestId()
		if len(ids) != 10 || len(first) != 16 || ids[string(first)] < 4 {
			t.Errorf("%d request ids, want one an operation, and the first repeated", len(ids))
		}
	})
}

func TestOperationsAreChecked(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 3)
	r := c.start(t, Options{})
	for name, operation := range map[string]*nodev1.OperateRequest{
		"none": nil, "a short id": {RequestId: []byte("1")}, "no UTF-8": {Reason: "\xff"},
	} {
		_, err := operate(t.Context(), r, operation)
		if wantCode(t, err, codes.InvalidArgument); len(c.calls(operateCall)) != 0 {
			t.Errorf("%s: passed on", name)
		}
	}
	mine := bytes.Repeat([]byte("x"), 16)
	if _, err := operate(t.Context(), r, &nodev1.OperateRequest{RequestId: mine}); err != nil {
		t.Fatal(err)
	}
	if calls := c.calls(operateCall); !bytes.Equal(calls[len(calls)-1].request.(*nodev1.OperateRequest).GetRequestId(), mine) {
		t.Error("the caller's request id was not kept")
	}
	// Refusals come through.
	c.setBefore(failing(operateCall, 100, status.Error(codes.FailedPrecondition, "group 3 would lose its quorum")))
	_, err := operate(t.Context(), r, &nodev1.OperateRequest{})
	if s := wantCode(t, err, codes.FailedPrecondition); !strings.Contains(s.Message(), "quorum") {
		t.Errorf("got %v", s)
	}
}

// The cluster is described without the directory's leader, too: by those nodes
// that answer, while one hangs.
func TestStateWithoutDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 2, 1, 3)
		r := c.start(t, Options{})
		c.status = []*nodev1.GroupReplica{{GroupId: 2, LeaderReplicaId: c.truth.Group(2).GetReplicas()[0].GetReplicaId()}}
		hang := hanging("n3")
		c.setBefore(func(e entry) error {
			switch e.call {
			case stateCall, operateCall:
				if e.node != "n3" {
					return leaderFault("n3")
				}
			}
			return hang(e)
		})
		start := time.Now()
		answer, err := (&adminService{router: r}).ClusterState(t.Context(), &adminv1.ClusterStateRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > stateBudget+statusTimeout {
			t.Errorf("took %v", took)
		}
		found := map[string]*nodev1.Finding{}
		for _, finding := range answer.GetState().GetFindings() {
			found[finding.GetCode()+" "+finding.GetSubject()] = finding
			if finding.GetCause() == "" || finding.GetConsequence() == "" || finding.GetCommand() == "" {
				t.Errorf("incomplete: %v", finding)
			}
		}
		for _, want := range []string{"directory-unavailable group 1", "node-silent node n3", "no-quorum group 3"} {
			if found[want] == nil {
				t.Errorf("%q was not found among %v", want, answer.GetState().GetFindings())
			}
		}
		if len(found) != 3 || answer.GetState().GetFindings()[0].GetCode() != "directory-unavailable" {
			t.Errorf("found %v", answer.GetState().GetFindings())
		}
		alive := 0
		for _, node := range answer.GetState().GetNodes() {
			if node.GetAlive() {
				alive++
			}
		}
		if alive != 2 || answer.GetState().GetMap() == nil {
			t.Errorf("%d nodes alive, want two and the map", alive)
		}
		// An operation is not answered, and says so in time.
		start = time.Now()
		_, err = operate(t.Context(), r, &nodev1.OperateRequest{})
		wantCode(t, err, codes.Unavailable)
		if took := time.Since(start); took > operateBudget {
			t.Errorf("took %v", took)
		}
		// The status goes on working.
		status, err := (&adminService{router: r}).Status(t.Context(), &adminv1.StatusRequest{})
		if err != nil || status.GetNodes()[2].GetError() == "" || status.GetNodes()[0].GetError() != "" {
			t.Errorf("got %v, %v", status, err)
		}
	})
}
