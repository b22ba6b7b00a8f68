package shardgroup_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/planner/retention"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

func control(t *testing.T, node *shardgroup.Node, action nodev1.ControlCompactionRequest_Action, job string) (bool, error) {
	t.Helper()
	response, err := node.Service().ControlCompaction(t.Context(), &nodev1.ControlCompactionRequest{GroupId: dataGroup, Action: action, Job: job})
	return response.GetChanged(), err
}

func wantControl(t *testing.T, node *shardgroup.Node, action nodev1.ControlCompactionRequest_Action, job string, want bool) {
	t.Helper()
	if changed, err := control(t, node, action, job); err != nil || changed != want {
		t.Errorf("%s: changed %v, %v, want %v", action, changed, err, want)
	}
}

const (
	pause  = nodev1.ControlCompactionRequest_ACTION_PAUSE
	resume = nodev1.ControlCompactionRequest_ACTION_RESUME
	retry  = nodev1.ControlCompactionRequest_ACTION_RETRY_JOB
	cancel = nodev1.ControlCompactionRequest_ACTION_CANCEL_JOB
)

func TestOperatorsControlCompaction(t *testing.T) {
	node, m, clock := openAt(t, nil)
	for serial := range 20 {
		add(t, node, m, testBlock(serial, "", 1, 0, "anna"))
	}
	wantControl(t, node, pause, "", true)
	wantControl(t, node, pause, "", false)
	wantEntries(t, node, 0, func() { poll(t, node, 2) })
	if got := compactionStatus(t, node); !got.GetPaused() || !strings.Contains(got.GetKeys()[0].GetReason(), "paused") {
		t.Errorf("got %v", got)
	}
	wantControl(t, node, resume, "", true)
	poll(t, node, 2)
	held := poll(t, node, 1).GetPoll().GetAssignments()[0]
	got := compactionStatus(t, node)
	if len(got.GetJobs()) != 1 || got.GetJobs()[0].GetSources() != 20 || got.GetJobs()[0].GetToken() != held.GetToken() || !strings.Contains(got.GetJobs()[0].GetReason(), "leased until") {
		t.Errorf("got %v", got)
	}
	// Its owner loses the job, and another gets it.
	wantControl(t, node, retry, held.GetName(), true)
	wantControl(t, node, retry, held.GetName(), false)
	answer := poll(t, node, 0, inProgress(held)) // fills the slot that is free now
	if answer.GetFreed() != 1 || len(answer.GetPoll().GetAssignments()) != 1 {
		t.Fatalf("got %v", answer)
	}
	again := answer.GetPoll().GetAssignments()[0]
	if again.GetToken() <= held.GetToken() {
		t.Errorf("token %d after %d", again.GetToken(), held.GetToken())
	}
	wantControl(t, node, cancel, held.GetName(), true)
	if got := compactionStatus(t, node); len(got.GetJobs()) != 0 || got.GetLevels()[0].GetBlocksReturned() != 20 || got.GetKeys()[0].GetBlocks() != 20 {
		t.Errorf("got %v", got)
	}
	clock.advance(time.Second)
	poll(t, node, 1)
	if answer := poll(t, node, 1, inProgress(again)).GetPoll(); len(answer.GetCompactionJobs()) != 1 {
		t.Errorf("the blocks of the cancelled job are not tried again: %v", answer)
	}
	for _, wrong := range []struct {
		action nodev1.ControlCompactionRequest_Action
		job    string
	}{{0, ""}, {99, ""}, {pause, "job"}, {retry, ""}, {retry, "no such job"}, {cancel, "no such job"}} {
		if _, err := control(t, node, wrong.action, wrong.job); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s of %q: %v", wrong.action, wrong.job, err)
		}
	}
	if _, err := node.Service().ControlCompaction(t.Context(), &nodev1.ControlCompactionRequest{GroupId: clusterv1.DirectoryGroup, Action: pause}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

func TestListsAreBounded(t *testing.T) {
	node, m, clock := openAt(t, nil)
	for serial := range 5 {
		add(t, node, m, testBlock(serial, "", uint32(serial), 0, "anna"))
		add(t, node, m, testBlock(serial, "anna", uint32(serial), 1))
	}
	got := compactionStatus(t, node)
	if len(got.GetKeys()) != 10 || got.GetTruncated() || !strings.Contains(got.GetKeys()[0].GetReason(), "1 of 20") || got.GetNow() != clock.now().UnixNano() {
		t.Errorf("got %v", got)
	}
	limited, err := node.Service().CompactionStatus(t.Context(), &nodev1.CompactionStatusRequest{GroupId: dataGroup, Limit: 3})
	if err != nil || len(limited.GetKeys()) != 3 || !limited.GetTruncated() {
		t.Errorf("got %v, %v", limited, err)
	}
	clock.advance(40 * 24 * time.Hour)
	plan := planRetention(t, node, 0)
	if len(plan.GetRemove()) != 10 || plan.GetTruncated() || plan.GetRemove()[0].GetBlocks() != 1 || !strings.Contains(plan.GetRemove()[0].GetReason(), "all data before") {
		t.Errorf("got %v", plan)
	}
	if plan := planRetention(t, node, 4); len(plan.GetRemove()) != 4 || !plan.GetTruncated() {
		t.Errorf("got %v", plan)
	}
	if got := compactionStatus(t, node); got.GetLevels()[0].GetBlocksQueued() != 5 {
		t.Errorf("planning changed something: %v", got)
	}
	for _, err := range []error{
		second(node.Service().CompactionStatus(t.Context(), &nodev1.CompactionStatusRequest{GroupId: clusterv1.DirectoryGroup})),
		second(node.Service().ListTombstones(t.Context(), &nodev1.ListTombstonesRequest{GroupId: clusterv1.DirectoryGroup})),
		second(node.Service().PlanRetention(t.Context(), &nodev1.PlanRetentionRequest{GroupId: clusterv1.DirectoryGroup})),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func planRetention(t *testing.T, node *shardgroup.Node, limit uint32) *nodev1.PlanRetentionResponse {
	t.Helper()
	plan, err := node.Service().PlanRetention(t.Context(), &nodev1.PlanRetentionRequest{GroupId: dataGroup, Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestOptionsOfCompaction(t *testing.T) {
	valid := shardgroup.Options{DataDir: "x"}
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	wrong := valid
	wrong.Compaction.Lease = -1
	wrong.Retention = retention.Defaults()
	wrong.Retention.Grace = -1
	err := wrong.Validate()
	for _, want := range []string{"compaction: no levels", "lease", "retention: negative grace"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
