package statemachine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/index"
)

// inPartition makes a block that was created in the n-th partition.
func inPartition(n, serial int, tenant string, level uint32) *metastorev1.BlockMeta {
	var id ulid.ULID
	if err := id.SetTime(uint64(n*index.PartitionSeconds*1000 + serial)); err != nil {
		panic(err)
	}
	block := newBlock(id.String(), 1, 3, 4)
	block.CompactionLevel = level
	if tenant != "" {
		block.Tenant = int32(slices.Index(block.StringTable, tenant))
		block.Datasets[0].Tenant = block.Tenant
	}
	return block
}

// runningJob runs a job up to its assignment with token 1, and returns how to complete
// it.
func runningJob(t *testing.T, r *replica, epoch uint64, sources ...*metastorev1.BlockMeta) *raftlogv1.JobCompletion {
	t.Helper()
	first := sources[0]
	job := &raftlogv1.CompactionJob{Tenant: first.TenantName(), Shard: first.Shard, Level: first.CompactionLevel}
	for _, source := range sources {
		job.Sources = append(job.Sources, source.Id)
	}
	job.Name = metastorev1.JobName(job.Sources, job.Tenant, job.Shard, job.Level)
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, &raftlogv1.CompactionDecision{
		LeaderEpoch: epoch, Create: []*raftlogv1.CompactionJob{job},
	})), raftlogv1.Result_STATUS_OK)
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, &raftlogv1.CompactionDecision{
		LeaderEpoch: epoch, Assign: []*raftlogv1.JobLease{{Job: &raftlogv1.JobRef{Name: job.Name, Revision: r.applied}, Token: 1, ExpiresAt: 99}},
	})), raftlogv1.Result_STATUS_OK)
	return &raftlogv1.JobCompletion{Job: &raftlogv1.JobRef{Name: job.Name, Revision: r.applied}, Token: 1, Sources: job.Sources}
}

func (r *replica) retain(epoch uint64, expired ...*raftlogv1.ExpiredShard) *raftlogv1.RetentionOutcome {
	r.t.Helper()
	result := r.apply(command(raftlogv1.Kind_KIND_DECIDE_RETENTION, &raftlogv1.RetentionDecision{LeaderEpoch: epoch, Shards: expired}))
	wantStatus(r.t, result, raftlogv1.Result_STATUS_OK)
	outcome := &raftlogv1.RetentionOutcome{}
	if err := outcome.UnmarshalVT(result.GetPayload()); err != nil {
		r.t.Fatal(err)
	}
	return outcome
}

// listed returns the index shards in the order that retention sees them.
func listed(t *testing.T, r *replica) []index.ShardInfo {
	t.Helper()
	var found []index.ShardInfo
	r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		return v.Index.Partitions(index.ShardKey{}, func(info index.ShardInfo) (bool, error) {
			found = append(found, info)
			return true, nil
		})
	}})
	return found
}

func expired(info index.ShardInfo) *raftlogv1.ExpiredShard {
	return &raftlogv1.ExpiredShard{
		Partition: info.Partition, Tenant: info.Tenant, Shard: info.Shard, Revision: info.Record.Revision,
		Tombstone: fmt.Sprintf("p%d %s", info.Partition, info.Tenant),
	}
}

// A sweep removes index shards with their queue entries, and leaves tombstones;
// what has changed since stays; a deposed leader's sweep does nothing.
func TestRetention(t *testing.T) { // R-RET-5, R-RET-9, R-RET-12, R-CQ-8
	old, older := inPartition(11, 1, "acme", 1), inPartition(10, 1, "acme", 1)
	other, fresh := inPartition(10, 2, "other", 1), inPartition(10, 3, "acme", 1)
	r := filled(t, old, older, other)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	shards := listed(t, r)
	if len(shards) != 3 || shards[0].Tenant != "acme" || shards[1].Tenant != "other" || shards[2].Partition != 11*index.PartitionSeconds {
		t.Fatalf("listed %+v", shards)
	}
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_RETENTION, &raftlogv1.RetentionDecision{
		LeaderEpoch: epoch - 1, Shards: []*raftlogv1.ExpiredShard{expired(shards[0])},
	})), raftlogv1.Result_STATUS_STALE_LEADER)
	r.apply(addCommand(fresh))
	outcome := r.retain(epoch, expired(shards[0]), expired(shards[1]))
	if outcome.Skipped != 1 || outcome.Shards != 1 || outcome.Blocks != 1 {
		t.Errorf("with a shard that has changed: %v", outcome)
	}
	if outcome = r.retain(epoch, expired(listed(t, r)[0])); outcome.Shards != 1 || outcome.Blocks != 2 {
		t.Errorf("again: %v", outcome)
	}
	if left := (request{[]string{"acme", "other"}, 0, 9000, `{}`, nil}).blocks(t, r); len(left) != 1 || left[0].Id != old.Id {
		t.Errorf("%d blocks are left", len(left))
	}
	if got := stored(t, r); !slices.Equal(lines(got, "queued"), []string{"queued 1 acme " + old.Id + " 0"}) || len(lines(got, "tombstone")) != 2 {
		t.Errorf("the tables hold\n%s", got)
	}
	if r.status().Blocks != 1 {
		t.Errorf("%d blocks are counted", r.status().Blocks)
	}
}

// A job that completes after retention took a source brings nothing back: its
// results get a tombstone, and the sources that are left wait again.
func TestLateCompletion(t *testing.T) { // R-CMP-5
	gone, left := inPartition(10, 1, "acme", 1), inPartition(11, 1, "acme", 1)
	r := filled(t, gone, left)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	completion := runningJob(t, r, epoch, gone, left)
	r.retain(epoch, expired(listed(t, r)[0]))
	result := inPartition(10, 9, "acme", 2)
	completion.Blocks = []*metastorev1.BlockMeta{result}
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, &raftlogv1.CompactionDecision{
		LeaderEpoch: epoch, LastToken: 1, Complete: []*raftlogv1.JobCompletion{completion},
	})), raftlogv1.Result_STATUS_OK)
	if found := (request{[]string{"acme"}, 0, 9000, `{}`, nil}).blocks(t, r); len(found) != 1 || found[0].Id != left.Id {
		t.Errorf("%d blocks are found", len(found))
	}
	got := stored(t, r)
	if !slices.Equal(lines(got, "queued"), []string{"queued 1 acme " + left.Id + " 0"}) || len(lines(got, "job")) != 0 {
		t.Errorf("the tables hold\n%s", got)
	}
	late := "tombstone late " + metastorev1.JobName([]string{result.Id}, "acme", 1, 2)
	if tombstones := lines(got, late); len(tombstones) != 1 {
		t.Errorf("the results' objects have no tombstone:\n%s", got)
	}
}

// Results of segments are seen at the moment the segments are gone, and a
// segment that comes again is not added.
func TestCompletionOfSegments(t *testing.T) { // R-CMP-1, R-CMP-2, R-ADD-5, R-TMB-3
	a, b := inPartition(10, 1, "", 0), inPartition(10, 2, "", 0)
	again := inPartition(10, 1, "", 0)
	r := filled(t, a, b)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	completion := runningJob(t, r, epoch, a, b)
	ofAcme, ofOther := inPartition(10, 1, "acme", 1), inPartition(10, 1, "other", 1)
	completion.Blocks = []*metastorev1.BlockMeta{ofAcme, ofOther}
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, &raftlogv1.CompactionDecision{
		LeaderEpoch: epoch, LastToken: 1, Complete: []*raftlogv1.JobCompletion{completion},
	})), raftlogv1.Result_STATUS_OK)
	for _, tenant := range []string{"acme", "other"} {
		found := (request{[]string{tenant}, 0, 9000, `{}`, nil}).blocks(t, r)
		if len(found) != 1 || found[0].TenantName() != tenant || found[0].CompactionLevel != 1 {
			t.Errorf("%s: found %v", tenant, found)
		}
	}
	wantStatus(t, r.apply(addCommand(again)), raftlogv1.Result_STATUS_ALREADY)
	if found := (request{[]string{"acme"}, 0, 9000, `{}`, nil}).blocks(t, r); len(found) != 1 {
		t.Errorf("a compacted segment came back: %v", found)
	}
}

// An operator's word: pausing is remembered, a failed job gets a new chance, a
// cancelled one gives its blocks back.
func TestControlCompaction(t *testing.T) {
	a := inPartition(10, 1, "acme", 1)
	r := filled(t, a)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	control := func(action raftlogv1.ControlCompaction_Action, job string, want raftlogv1.Result_Status) {
		t.Helper()
		wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_CONTROL_COMPACTION, &raftlogv1.ControlCompaction{Action: action, Job: job})), want)
	}
	control(raftlogv1.ControlCompaction_ACTION_PAUSE, "", raftlogv1.Result_STATUS_OK)
	control(raftlogv1.ControlCompaction_ACTION_PAUSE, "", raftlogv1.Result_STATUS_ALREADY)
	if err := r.machine.Sync(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		if !v.Paused {
			t.Error("the pause was forgotten")
		}
		return nil
	}})
	control(raftlogv1.ControlCompaction_ACTION_RESUME, "", raftlogv1.Result_STATUS_OK)
	control(raftlogv1.ControlCompaction_ACTION_UNSPECIFIED, "", raftlogv1.Result_STATUS_INVALID)
	control(raftlogv1.ControlCompaction_ACTION_CANCEL_JOB, "nobody", raftlogv1.Result_STATUS_CONFLICT)

	name := runningJob(t, r, epoch, a).GetJob().GetName()
	control(raftlogv1.ControlCompaction_ACTION_RETRY_JOB, name, raftlogv1.Result_STATUS_OK)
	control(raftlogv1.ControlCompaction_ACTION_RETRY_JOB, name, raftlogv1.Result_STATUS_ALREADY)
	if got := lines(stored(t, r), "job"); len(got) != 1 || got[0] != "job "+name+" false 1 0 0 ["+a.Id+"] []" {
		t.Errorf("after a retry: %v", got)
	}
	control(raftlogv1.ControlCompaction_ACTION_CANCEL_JOB, name, raftlogv1.Result_STATUS_OK)
	if got := stored(t, r); len(lines(got, "job")) != 0 || len(lines(got, "returned")) != 1 {
		t.Errorf("after it was cancelled:\n%s", got)
	}
}

func lines(text, prefix string) []string {
	var found []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) && !strings.HasPrefix(line, prefix+"s") {
			found = append(found, line)
		}
	}
	return found
}
