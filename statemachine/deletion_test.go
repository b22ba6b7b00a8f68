package statemachine_test

import (
	"slices"
	"testing"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/index"
)

const partitionMillis = index.PartitionSeconds * 1000

// deleteTenant deletes in both keyspaces, and returns the number of blocks that
// left the index.
func (r *replica) deleteTenant(tenant string, until uint64) uint64 {
	r.t.Helper()
	blocks := uint64(0)
	for _, span := range wholeSpans() {
		for more := true; more; {
			c := command(raftlogv1.Kind_KIND_DELETE_TENANT, &raftlogv1.DeleteTenant{Tenant: tenant, Until: until})
			c.Range = span
			result := r.apply(c)
			wantStatus(r.t, result, raftlogv1.Result_STATUS_OK)
			outcome := &raftlogv1.DeletionOutcome{}
			if err := outcome.UnmarshalVT(result.GetPayload()); err != nil {
				r.t.Fatal(err)
			}
			blocks, more = blocks+outcome.Blocks, outcome.More
		}
	}
	return blocks
}

// shared makes a segment with a dataset of acme and one of other.
func shared(n, serial int) *metastorev1.BlockMeta {
	block := inPartition(n, serial, "", 0)
	block.Datasets = append(block.Datasets, &metastorev1.Dataset{Tenant: 10, Name: 2, MinTime: 1000, MaxTime: 2000, Labels: []int32{1, 3, 4}})
	return block
}

func found(t *testing.T, r *replica, tenant string) []string {
	t.Helper()
	var ids []string
	for _, block := range (request{[]string{tenant}, 0, 9000, `{}`, nil}).blocks(t, r) {
		ids = append(ids, block.Id)
	}
	return ids
}

// Everything of the tenant disappears, of blocks and of segments, and nothing of
// others; what comes late stays away; what is new is there.
func TestDeleteTenant(t *testing.T) { // R-TEN-7
	own, segment, others := inPartition(10, 1, "acme", 1), shared(10, 2), inPartition(10, 3, "other", 1)
	r := filled(t, own, segment, others)
	if got := found(t, r, "acme"); len(got) != 2 {
		t.Fatalf("before: %v", got)
	}
	if removed := r.deleteTenant("acme", 10*partitionMillis+100); removed != 1 {
		t.Errorf("%d blocks left the index", removed)
	}
	if got := found(t, r, "acme"); len(got) != 0 {
		t.Errorf("deleted, and found: %v", got)
	}
	if got := found(t, r, "other"); len(got) != 2 {
		t.Errorf("of another tenant: %v", got)
	}
	if tenants := r.lookup(statemachine.ListTenants{Context: t.Context(), Ranges: wholeSpans()}).([]string); !slices.Equal(tenants, []string{"other"}) {
		t.Errorf("tenants %v", tenants)
	}
	stats := r.lookup(statemachine.TenantStats{Context: t.Context(), Ranges: wholeSpans(), Tenant: "acme"}).(*nodev1.TenantStatsResponse).GetStats()
	if stats.DataIngested {
		t.Errorf("stats %v", stats)
	}
	labels := r.lookup(statemachine.QueryLabels((request{[]string{"acme"}, 0, 9000, `{}`, []string{"svc"}}).parsed(t))).(*nodev1.QueryLabelsResponse)
	if len(labels.Labels) != 0 {
		t.Errorf("labels %v", labels)
	}
	// Who compacts the segment does not see the tenant's part of it.
	if got := getBlocks(t, r, "", 1, segment.Id); len(got) != 1 || len(got[0].Datasets) != 1 || slices.Contains(got[0].StringTable, "acme") {
		t.Errorf("for compaction: %v", got)
	}
	late := inPartition(10, 5, "acme", 1)
	wantStatus(t, r.apply(addCommand(late)), raftlogv1.Result_STATUS_ALREADY)
	lateSegment, fresh := shared(10, 6), shared(10, 200)
	for _, block := range []*metastorev1.BlockMeta{lateSegment, fresh} {
		wantStatus(t, r.apply(addCommand(block)), raftlogv1.Result_STATUS_OK)
	}
	if got := found(t, r, "acme"); !slices.Equal(got, []string{fresh.Id}) {
		t.Errorf("found %v, want only %s", got, fresh.Id)
	}
	if err := r.machine.Sync(); err != nil {
		t.Fatal(err)
	}
	r.crash()
	if got := found(t, r, "acme"); !slices.Equal(got, []string{fresh.Id}) {
		t.Errorf("after a crash: found %v, want only %s", got, fresh.Id)
	}
	r.check()
	if left := lines(stored(t, r), "tombstone deleted"); len(left) != 1 {
		t.Errorf("tombstones %v", left)
	}
	if removed := r.deleteTenant("acme", 10*partitionMillis+100); removed != 0 {
		t.Errorf("again: %d blocks left the index", removed)
	}
}

// Results of jobs that began before the deletion stay away, from the tenant's
// own jobs and from those of segments; results of later jobs are there.
func TestDeletionDuringCompaction(t *testing.T) {
	a, b := inPartition(10, 1, "acme", 1), shared(10, 2)
	r := filled(t, a, b)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	own := runningJob(t, r, epoch, a)
	r.deleteTenant("acme", 10*partitionMillis+100)
	own.Blocks = []*metastorev1.BlockMeta{inPartition(10, 8, "acme", 2)}
	complete := func(c *raftlogv1.JobCompletion, lastToken uint64) {
		t.Helper()
		wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, &raftlogv1.CompactionDecision{
			LeaderEpoch: epoch, LastToken: lastToken, Complete: []*raftlogv1.JobCompletion{c},
		})), raftlogv1.Result_STATUS_OK)
	}
	complete(own, 1)
	if got := found(t, r, "acme"); len(got) != 0 {
		t.Errorf("a result came back: %v", got)
	}

	// Another deletion, of other, while segments are compacted.
	younger := shared(10, 200)
	r.apply(addCommand(younger))
	job := &raftlogv1.CompactionJob{Shard: 1, Sources: []string{b.Id, younger.Id}, Name: metastorev1.JobName([]string{b.Id, younger.Id}, "", 1, 0)}
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, &raftlogv1.CompactionDecision{
		LeaderEpoch: epoch, LastToken: 1, Create: []*raftlogv1.CompactionJob{job},
	})), raftlogv1.Result_STATUS_OK)
	wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, &raftlogv1.CompactionDecision{
		LeaderEpoch: epoch, LastToken: 1, Assign: []*raftlogv1.JobLease{{Job: &raftlogv1.JobRef{Name: job.Name, Revision: r.applied}, Token: 2}},
	})), raftlogv1.Result_STATUS_OK)
	revision := r.applied
	r.deleteTenant("other", 10*partitionMillis+100)
	ofAcme, ofOther := inPartition(10, 7, "acme", 1), inPartition(10, 7, "other", 1)
	complete(&raftlogv1.JobCompletion{
		Job: &raftlogv1.JobRef{Name: job.Name, Revision: revision}, Token: 2, Sources: job.Sources, Blocks: []*metastorev1.BlockMeta{ofAcme, ofOther},
	}, 2)
	// This job began after acme's deletion, and before other's.
	if acme, other := found(t, r, "acme"), found(t, r, "other"); !slices.Equal(acme, []string{ofAcme.Id}) || len(other) != 0 {
		t.Errorf("found of acme %v, of other %v", acme, other)
	}
	r.check()
}

// A deletion of many shards takes several commands, and each is short.
func TestDeletionInParts(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	for n := range 1200 {
		r.apply(addCommand(inPartition(10+n, 1, "acme", 3)))
	}
	before := r.applied
	if removed := r.deleteTenant("acme", 5000*partitionMillis); removed != 1200 || r.applied != before+4 {
		t.Errorf("%d blocks left the index, with %d commands", removed, r.applied-before)
	}
	if r.status().Blocks != 0 || len(found(t, r, "acme")) != 0 {
		t.Error("something is left")
	}
	refused := command(raftlogv1.Kind_KIND_DELETE_TENANT, &raftlogv1.DeleteTenant{})
	refused.Range = wholeSpans()[0]
	wantStatus(t, r.apply(refused), raftlogv1.Result_STATUS_INVALID)
	refused = command(raftlogv1.Kind_KIND_DELETE_TENANT, &raftlogv1.DeleteTenant{Tenant: "acme"})
	refused.Range = &clusterv1.RangeRef{Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Epoch: 9}
	wantStatus(t, r.apply(refused), raftlogv1.Result_STATUS_ROUTE)
	r.check()
}

// check demands that the index holds together.
func (r *replica) check() {
	r.t.Helper()
	db, err := r.engine.DB(group)
	if err != nil {
		r.t.Fatal(err)
	}
	tx, err := db.Begin(false)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := statemachine.Check(r.t.Context(), tx, func(fault error) { r.t.Error(fault) }); err != nil {
		r.t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		r.t.Error(err)
	}
}
