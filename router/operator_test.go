package router

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func TestCompactionStatusOfAllGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, 4, 1, 3)
		s := &adminService{router: c.start(t, Options{})}
		c.queue(2, 0, 3, 200)
		c.queue(3, 0, 4, 100)
		c.queue(3, 2, 5, 0)
		c.queue(4, 0, 9, 50)
		c.setBefore(dead(4))
		start := time.Now()
		answer, err := s.CompactionStatus(t.Context(), &adminv1.CompactionStatusRequest{Limit: 7})
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Groups) != 4 || len(answer.Levels) != 2 {
			t.Fatalf("got %v", answer)
		}
		for i, group := range answer.Groups {
			if group.GroupId != uint64(i+2) {
				t.Errorf("group %d is at place %d", group.GroupId, i)
			}
			if down := group.GroupId == 4; down != (group.Error != "") || down != (group.Status == nil) {
				t.Errorf("group %d: %v", group.GroupId, group)
			}
		}
		if l := answer.Levels[0]; l.Level != 0 || l.BlocksQueued != 7 || l.Oldest != 100 {
			t.Errorf("got %v", l)
		}
		if l := answer.Levels[1]; l.Level != 2 || l.BlocksQueued != 5 || l.Oldest != 0 {
			t.Errorf("got %v", l)
		}
		for _, e := range c.calls("CompactionStatus") {
			if e.request.(*nodev1.CompactionStatusRequest).Limit != 7 {
				t.Errorf("the limit was not passed on: %v", e.request)
			}
		}
		if waited := time.Since(start); waited > 3*time.Second {
			t.Errorf("took %v", waited)
		}
	})
}

func TestOperatorNamesGroups(t *testing.T) {
	c := newFakeCluster(t, 4, 1, 1)
	s := &adminService{router: c.start(t, Options{MaxAnswerBytes: 1000})}
	tombstones, err := s.ListTombstones(t.Context(), &adminv1.ListTombstonesRequest{GroupIds: []uint64{4, 2, 4}})
	if err != nil || len(tombstones.Groups) != 2 || tombstones.Groups[0].GroupId != 2 || len(tombstones.Groups[0].List.Tombstones) != 1 {
		t.Errorf("got %v, %v", tombstones, err)
	}
	retention, err := s.PlanRetention(t.Context(), &adminv1.PlanRetentionRequest{GroupIds: []uint64{3}})
	if err != nil || len(retention.Groups) != 1 || retention.Groups[0].Plan.Stopped != "seen all" {
		t.Errorf("got %v, %v", retention, err)
	}
	_, err = s.PlanRetention(t.Context(), &adminv1.PlanRetentionRequest{GroupIds: []uint64{99}})
	wantCode(t, err, codes.InvalidArgument)
	_, err = s.ListTombstones(t.Context(), &adminv1.ListTombstonesRequest{Limit: listLimitMax + 1})
	wantCode(t, err, codes.InvalidArgument)
	c.mu.Lock()
	c.tombstone = strings.Repeat("x", 500)
	c.mu.Unlock()
	_, err = s.ListTombstones(t.Context(), &adminv1.ListTombstonesRequest{})
	if s := wantCode(t, err, codes.InvalidArgument); !strings.Contains(s.Message(), "lower limit") {
		t.Errorf("got %v", err)
	}
}

// What waits is told by the group of the stream, and for which group it is by the
// map.
func TestTransferStatus(t *testing.T) {
	c := newFakeCluster(t, 4, 1, 3)
	s := &adminService{router: c.start(t, Options{})}
	want := map[string]uint64{}
	var blocks []*metastorev1.BlockMeta
	for i := range 20 {
		tenant := fmt.Sprint("tenant-", i)
		blocks = append(blocks, newBlock(tenant, 5, i))
		keyspace, point := clusterv1.BlockPoint(tenant, 5)
		want[tenant] = c.truth.Lookup(keyspace, point).GetGroupId()
	}
	c.issue(5, nil, blocks...)
	home := c.truth.Lookup(clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.StreamPoint(5)).GetGroupId()
	c.setBefore(dead(home%4 + 2))
	answer, err := s.TransferStatus(t.Context(), &adminv1.TransferStatusRequest{Limit: 7})
	if err != nil || len(answer.Groups) != 4 || answer.Now == 0 {
		t.Fatalf("got %v, %v", answer, err)
	}
	got := map[string]uint64{}
	for _, group := range answer.Groups {
		if down := group.GroupId == home%4+2; down != (group.Error != "") || down != (group.Status == nil) {
			t.Errorf("group %d: %v", group.GroupId, group)
		}
		if group.GroupId != home && group.Status.GetTransfers() != 0 {
			t.Errorf("group %d has transfers of group %d", group.GroupId, home)
		}
		for i, waiting := range group.Status.GetOutboxes() {
			got[waiting.Tenant] = group.Destinations[i]
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, e := range c.calls(waitingCall) {
		if request := e.request.(*nodev1.TransferStatusRequest); request.Limit != 7 || !request.FromLeader {
			t.Errorf("asked for %v", request)
		}
	}
	_, err = s.TransferStatus(t.Context(), &adminv1.TransferStatusRequest{GroupIds: []uint64{99}})
	wantCode(t, err, codes.InvalidArgument)
}

func TestControl(t *testing.T) {
	c := newFakeCluster(t, 4, 1, 1)
	s := &adminService{router: c.start(t, Options{})}
	control := func(action nodev1.ControlCompactionRequest_Action, job string, groups ...uint64) (*adminv1.ControlCompactionResponse, error) {
		return s.ControlCompaction(t.Context(), &adminv1.ControlCompactionRequest{Action: action, Job: job, GroupIds: groups})
	}
	const (
		pause  = nodev1.ControlCompactionRequest_ACTION_PAUSE
		resume = nodev1.ControlCompactionRequest_ACTION_RESUME
		retry  = nodev1.ControlCompactionRequest_ACTION_RETRY_JOB
		cancel = nodev1.ControlCompactionRequest_ACTION_CANCEL_JOB
	)
	if _, err := control(pause, "", 3); err != nil {
		t.Fatal(err)
	}
	answer, err := control(pause, "")
	if err != nil || len(answer.Groups) != 4 {
		t.Fatalf("got %v, %v", answer, err)
	}
	for _, group := range answer.Groups {
		if group.Changed == (group.GroupId == 3) {
			t.Errorf("got %v; only group 3 was paused before", group)
		}
	}
	c.setBefore(dead(5))
	answer, err = control(resume, "")
	if err != nil || answer.Groups[3].Error == "" || answer.Groups[3].Changed || !answer.Groups[0].Changed {
		t.Errorf("got %v, %v", answer, err)
	}
	c.setBefore(nil)

	// A job's group is found by the name, wherever its range went.
	group, update := c.running("acme", 1)
	keyspace, point := clusterv1.BlockPoint("acme", 1)
	c.move(t, keyspace, point, group%4+2)
	answer, err = control(cancel, update.Name)
	if err != nil || len(answer.Groups) != 1 || answer.Groups[0].GroupId != group%4+2 {
		t.Errorf("got %v, %v", answer, err)
	}
	for name, bad := range map[string]func() (*adminv1.ControlCompactionResponse, error){
		"no job":        func() (*adminv1.ControlCompactionResponse, error) { return control(retry, "") },
		"not a job":     func() (*adminv1.ControlCompactionResponse, error) { return control(retry, "acme") },
		"not UTF-8":     func() (*adminv1.ControlCompactionResponse, error) { return control(retry, "\xff-Ta-S1-L0") },
		"job and group": func() (*adminv1.ControlCompactionResponse, error) { return control(retry, update.Name, 2) },
		"pause a job":   func() (*adminv1.ControlCompactionResponse, error) { return control(pause, update.Name) },
		"no action":     func() (*adminv1.ControlCompactionResponse, error) { return control(0, "") },
	} {
		_, err := bad()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantCode(t, err, codes.InvalidArgument)
	}
}
