package router

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func (n *fakeNode) ListDLQ(ctx context.Context, in *nodev1.ListDLQRequest) (*nodev1.ListDLQResponse, error) {
	return &nodev1.ListDLQResponse{Objects: n.id}, n.check(ctx, "ListDLQ", 0, in)
}

func (n *fakeNode) GetDLQEntry(ctx context.Context, in *nodev1.GetDLQEntryRequest) (*nodev1.GetDLQEntryResponse, error) {
	return &nodev1.GetDLQEntryResponse{Entry: &nodev1.DLQEntry{Key: in.GetKey()}}, n.check(ctx, "GetDLQEntry", 0, in)
}

func (n *fakeNode) RetryDLQ(ctx context.Context, in *nodev1.RetryDLQRequest) (*nodev1.RetryDLQResponse, error) {
	answer := &nodev1.RetryDLQResponse{Moved: 3}
	if in.GetAfter() == "" && in.GetAll() {
		answer.Next = "more"
	}
	return answer, n.check(ctx, "RetryDLQ", 0, in)
}

func (n *fakeNode) PurgeDLQ(ctx context.Context, in *nodev1.PurgeDLQRequest) (*nodev1.PurgeDLQResponse, error) {
	return &nodev1.PurgeDLQResponse{Deleted: 2}, n.check(ctx, "PurgeDLQ", 0, in)
}

func (n *fakeNode) SweepDLQ(ctx context.Context, in *nodev1.SweepDLQRequest) (*nodev1.SweepDLQResponse, error) {
	return &nodev1.SweepDLQResponse{Groups: 2}, n.check(ctx, "SweepDLQ", 0, in)
}

func (n *fakeNode) GetDLQStatus(ctx context.Context, in *nodev1.GetDLQStatusRequest) (*nodev1.GetDLQStatusResponse, error) {
	return &nodev1.GetDLQStatusResponse{Objects: n.id}, n.check(ctx, "GetDLQStatus", 0, in)
}

// nodesAsked lists which nodes were called, in order.
func (c *fakeCluster) nodesAsked(call string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var nodes []string
	for _, e := range c.log {
		if e.call == call {
			nodes = append(nodes, e.node)
		}
	}
	return nodes
}

// Nodes without an object store, and those that hang, are passed over; what another
// one says counts.
func TestDeadLettersOfSomeNode(t *testing.T) {
	for name, c := range map[string]struct {
		first error // nil hangs
		code  codes.Code
		asked []string
	}{
		"no object store": {status.Error(codes.FailedPrecondition, "no object store"), codes.OK, []string{"n1", "n2"}},
		"an older node":   {status.Error(codes.Unimplemented, "unknown method"), codes.OK, []string{"n1", "n2"}},
		"it is away":      {status.Error(codes.Unavailable, "no"), codes.OK, []string{"n1", "n2"}},
		"it hangs":        {nil, codes.OK, []string{"n1", "n2"}},
		"a bad key":       {status.Error(codes.InvalidArgument, "no key"), codes.InvalidArgument, []string{"n1"}},
		"not there":       {status.Error(codes.NotFound, "gone"), codes.NotFound, []string{"n1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := newFakeCluster(t, 2, 1, 3)
				s := &adminService{router: cluster.start(t, Options{})}
				cluster.setBefore(func(e entry) error {
					switch {
					case !strings.Contains(e.call, "DLQ") || e.node != "n1":
						return nil
					case c.first == nil:
						<-e.ctx.Done()
						return status.FromContextError(e.ctx.Err()).Err()
					}
					return c.first
				})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				answer, err := s.ListDLQ(ctx, &adminv1.ListDLQRequest{})
				if status.Code(err) != c.code || err == nil && answer.GetList().GetObjects() != "n2" {
					t.Errorf("%v, %v", answer, err)
				}
				if got := cluster.nodesAsked("ListDLQ"); !slices.Equal(got, c.asked) {
					t.Errorf("asked %v", got)
				}
				if _, err := s.PurgeDLQ(ctx, &adminv1.PurgeDLQRequest{Purge: &nodev1.PurgeDLQRequest{All: true}}); c.first != nil && status.Code(err) != c.code {
					t.Error(err)
				}
				if _, err := s.GetDLQEntry(ctx, &adminv1.GetDLQEntryRequest{Key: "k"}); c.first != nil && status.Code(err) != c.code {
					t.Error(err)
				}
			})
		})
	}
}

func TestDeadLettersOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newFakeCluster(t, 2, 1, 3)
		s := &adminService{router: cluster.start(t, Options{})}
		cluster.setBefore(func(e entry) error {
			if strings.Contains(e.call, "DLQ") {
				return status.Error(codes.FailedPrecondition, "no object store")
			}
			return nil
		})
		if _, err := s.ListDLQ(t.Context(), &adminv1.ListDLQRequest{}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "no object store") {
			t.Error(err)
		}
		answer, err := s.GetDLQStatus(t.Context(), &adminv1.GetDLQStatusRequest{})
		if err != nil || len(answer.GetNodes()) != 3 || answer.GetNodes()[2].GetError() == "" {
			t.Errorf("%v, %v", answer, err)
		}
	})
}

// All nodes sweep, once everything is moved back; in a dry run none does.
func TestRetriesAreToldToAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newFakeCluster(t, 2, 1, 3)
		s := &adminService{router: cluster.start(t, Options{})}
		cluster.setBefore(func(e entry) error {
			if e.call == "SweepDLQ" && e.node == "n3" {
				return status.Error(codes.Unavailable, "away")
			}
			return nil
		})
		retry := func(request *nodev1.RetryDLQRequest) *adminv1.RetryDLQResponse {
			t.Helper()
			answer, err := s.RetryDLQ(t.Context(), &adminv1.RetryDLQRequest{Retry: request})
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		if got := retry(&nodev1.RetryDLQRequest{All: true}); got.GetOutcome().GetNext() != "more" || got.GetNodes() != 0 || len(cluster.nodesAsked("SweepDLQ")) != 0 {
			t.Errorf("the first page: %v", got)
		}
		if got := retry(&nodev1.RetryDLQRequest{Keys: []string{"k"}, DryRun: true}); got.GetOutcome().GetMoved() != 3 || len(cluster.nodesAsked("SweepDLQ")) != 0 {
			t.Errorf("a dry run: %v", got)
		}
		got := retry(&nodev1.RetryDLQRequest{All: true, After: "more"})
		if got.GetOutcome().GetMoved() != 3 || got.GetNodes() != 2 || got.GetGroups() != 4 || !slices.Equal(got.GetSilentNodes(), []string{"n3: away"}) {
			t.Errorf("the last page: %v", got)
		}
		moved := len(cluster.nodesAsked("RetryDLQ"))
		if got := retry(nil); got.GetNodes() != 2 || len(cluster.nodesAsked("RetryDLQ")) != moved {
			t.Errorf("without keys: %v", got)
		}
	})
}
