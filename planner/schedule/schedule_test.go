package schedule

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func TestConfig(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	bad := Defaults()
	bad.Lease, bad.FailuresMax, bad.GiveUpAfter, bad.GiveUpsMax, bad.BackoffMin, bad.BackoffMax, bad.PollJobsMax = 0, FailuresCap+1, -1, 0, 0, -1, 0
	if err := bad.Validate(); err == nil || strings.Count(err.Error(), "\n") != 6 {
		t.Errorf("not every fault is reported: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	config := Config{BackoffMin: time.Minute, BackoffMax: 6 * time.Minute}
	for attempts, want := range map[uint32]time.Duration{1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 4: 6 * time.Minute, 1 << 31: 6 * time.Minute} {
		if got := config.backoff(attempts); got != want {
			t.Errorf("after %d failed jobs wait %v, want %v", attempts, got, want)
		}
	}
}

// R-POLL-5: renewed leases first, then new ones with their jobs.
func TestAnswer(t *testing.T) {
	d := Decision{
		Renew:    []Grant{{Was: Ref{Name: "kept"}, Token: 1, ExpiresAt: 10}},
		Complete: []Completion{{Was: Ref{Name: "done"}}},
		Assign:   []Grant{{Was: Ref{Name: "new"}, Token: 2, ExpiresAt: 20}},
	}
	answer, err := d.Answer(func(name string) (*metastorev1.CompactionJob, error) {
		return &metastorev1.CompactionJob{Name: name, Shard: 7}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Assignments) != 2 || answer.Assignments[0].Name != "kept" || answer.Assignments[1].Name != "new" ||
		answer.Assignments[1].Token != 2 || answer.Assignments[1].LeaseExpiresAt != 20 {
		t.Errorf("assignments %v", answer.Assignments)
	}
	if len(answer.CompactionJobs) != 1 || answer.CompactionJobs[0].Name != "new" {
		t.Errorf("jobs %v", answer.CompactionJobs)
	}
	broken := errors.New("broken")
	if _, err := d.Answer(func(string) (*metastorev1.CompactionJob, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

func TestFromPoll(t *testing.T) {
	request := FromPoll(&metastorev1.PollCompactionJobsRequest{
		JobCapacity: 3,
		StatusUpdates: []*metastorev1.CompactionJobStatusUpdate{{
			Name: "a", Token: 5, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS,
			CompactedBlocks: &metastorev1.CompactedBlocks{},
		}, nil},
	})
	if request.Capacity != 3 || len(request.Updates) != 2 || request.Updates[0].Token != 5 || request.Updates[0].Result == nil {
		t.Errorf("translated to %+v", request)
	}
	if got := slots(1<<32 - 1); got < 1<<20 {
		t.Errorf("capacity wrapped to %d", got)
	}
}

func TestWhyJob(t *testing.T) {
	config, now := Defaults(), planner.Time(1000)
	for _, c := range []struct {
		job  Job
		want planner.Code
	}{
		{Job{}, planner.WaitingForPoll},
		{Job{Status: InProgress, LeaseExpiresAt: 1000}, planner.LeaseHeld},
		{Job{Status: InProgress, LeaseExpiresAt: 999}, planner.WaitingForPoll},
		{Job{Status: InProgress, LeaseExpiresAt: 999, Failures: 3}, planner.FailuresExhausted},
	} {
		if got := WhyJob(c.job, config, now); got.Code != c.want {
			t.Errorf("%v: %v", c.job, got)
		}
	}
	if Unassigned.String() == InProgress.String() {
		t.Error("the states have one name")
	}
}
