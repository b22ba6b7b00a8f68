package statemachine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

func (r *replica) decide(d *raftlogv1.CompactionDecision, want raftlogv1.Result_Status) {
	r.t.Helper()
	r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		d.LeaderEpoch, d.LastToken = v.LeaderEpoch, v.LastToken
		return nil
	}})
	wantStatus(r.t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, d)), want)
}

func deletionOf(tenant string, keyspace int, until uint64) *raftlogv1.Command {
	c := command(raftlogv1.Kind_KIND_DELETE_TENANT, &raftlogv1.DeleteTenant{Tenant: tenant, Until: until})
	c.Range = wholeSpans()[keyspace]
	return c
}

func createdAt(block *metastorev1.BlockMeta) uint64 { return ulid.MustParseStrict(block.Id).Time() }

// Completions that would lose data, or show it twice, are refused whatever the
// leader thinks.
func TestCompletionGuards(t *testing.T) {
	for name, spoil := range map[string]func(c *raftlogv1.JobCompletion){
		"results without sources": func(c *raftlogv1.JobCompletion) { c.Sources = nil },
		"sources without results": func(c *raftlogv1.JobCompletion) { c.Blocks = nil },
		"a result with the id of a source": func(c *raftlogv1.JobCompletion) {
			c.Blocks[0].Id = c.Sources[0]
		},
		"two results with one id":        func(c *raftlogv1.JobCompletion) { c.Blocks = append(c.Blocks, c.Blocks[0]) },
		"a source replaced and returned": func(c *raftlogv1.JobCompletion) { c.Return = []*raftlogv1.BlockBatch{{Blocks: c.Sources, Attempts: 1}} },
		"a source twice":                 func(c *raftlogv1.JobCompletion) { c.Missing = c.Sources },
		"a batch without attempts": func(c *raftlogv1.JobCompletion) {
			c.Return, c.Sources, c.Blocks = []*raftlogv1.BlockBatch{{Blocks: c.Sources}}, nil, nil
		},
		"an empty batch":  func(c *raftlogv1.JobCompletion) { c.Return = []*raftlogv1.BlockBatch{{Attempts: 1}} },
		"another token":   func(c *raftlogv1.JobCompletion) { c.Token++ },
		"a foreign block": func(c *raftlogv1.JobCompletion) { c.Blocks[0].Tenant = 10 },
	} {
		t.Run(name, func(t *testing.T) {
			a := inPartition(10, 1, "acme", 1)
			r := filled(t, a)
			c := runningJob(t, r, r.apply(claim("a", 1)).GetLeaderEpoch(), a)
			c.Blocks = []*metastorev1.BlockMeta{inPartition(10, 2, "acme", 2)}
			before := stored(t, r)
			spoil(c)
			r.decide(&raftlogv1.CompactionDecision{Complete: []*raftlogv1.JobCompletion{c}}, raftlogv1.Result_STATUS_INVALID)
			if after := stored(t, r); after != before || !slices.Equal(found(t, r, "acme"), []string{a.Id}) {
				t.Errorf("something changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

// Names are keys: one that is too long is refused, not tried.
func TestNameGuards(t *testing.T) {
	a := inPartition(10, 1, "acme", 1)
	r := filled(t, a)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	long := strings.Repeat("x", 40_000)
	r.decide(&raftlogv1.CompactionDecision{Create: []*raftlogv1.CompactionJob{
		{Name: long, Tenant: "acme", Shard: 1, Level: 1, Sources: []string{a.Id}},
	}}, raftlogv1.Result_STATUS_INVALID)
	one := expired(listed(t, r)[0])
	for _, shards := range [][]*raftlogv1.ExpiredShard{{{Tenant: "acme", Shard: 1, Tombstone: long}}, {{Tenant: "acme", Shard: 1}}, {one, one}} {
		wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_DECIDE_RETENTION, &raftlogv1.RetentionDecision{LeaderEpoch: epoch, Shards: shards})),
			raftlogv1.Result_STATUS_INVALID)
	}
	r.apply(command(raftlogv1.Kind_KIND_CONTROL_COMPACTION, &raftlogv1.ControlCompaction{Action: raftlogv1.ControlCompaction_ACTION_PAUSE}))
	r.decide(&raftlogv1.CompactionDecision{Create: []*raftlogv1.CompactionJob{
		{Name: "j", Tenant: "acme", Shard: 1, Level: 1, Sources: []string{a.Id}},
	}}, raftlogv1.Result_STATUS_CONFLICT)
	if len(found(t, r, "acme")) != 1 {
		t.Error("the block is gone")
	}
}

// Batches that begin with the same id are told apart by their shard; and one
// that begins like another of its key becomes a part of it.
func TestBatchesWithOneBeginning(t *testing.T) {
	cancel := func(r *replica, name string) {
		wantStatus(t, r.apply(command(raftlogv1.Kind_KIND_CONTROL_COMPACTION, &raftlogv1.ControlCompaction{
			Action: raftlogv1.ControlCompaction_ACTION_CANCEL_JOB, Job: name,
		})), raftlogv1.Result_STATUS_OK)
	}
	create := func(r *replica, job *raftlogv1.CompactionJob) {
		r.decide(&raftlogv1.CompactionDecision{Create: []*raftlogv1.CompactionJob{job}}, raftlogv1.Result_STATUS_OK)
	}
	a, b := inPartition(10, 1, "", 0), inPartition(10, 1, "", 0)
	b.Shard = 2
	r := filled(t, a, b)
	for _, block := range []*metastorev1.BlockMeta{a, b} {
		job := &raftlogv1.CompactionJob{Name: metastorev1.JobName([]string{block.Id}, "", block.Shard, 0), Shard: block.Shard, Sources: []string{block.Id}}
		create(r, job)
		cancel(r, job.Name)
	}
	returned := func() (batches [][]string) {
		r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
			for batch, err := range v.Queue.Returned(0) {
				if err != nil {
					return err
				}
				batches = append(batches, batch.GetBlocks())
			}
			return nil
		}})
		return batches
	}
	if got := returned(); len(got) != 2 {
		t.Errorf("batches %v", got)
	}

	// A source goes by retention while its job runs, comes again, and is in
	// another job: both give it back.
	next := inPartition(10, 2, "", 0)
	r = filled(t, a)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	create(r, &raftlogv1.CompactionJob{Name: "one", Shard: 1, Sources: []string{a.Id}})
	r.retain(epoch, expired(listed(t, r)[0]))
	r.apply(addCommand(inPartition(10, 1, "", 0)))
	r.apply(addCommand(next))
	create(r, &raftlogv1.CompactionJob{Name: "two", Shard: 1, Sources: []string{a.Id, next.Id}})
	cancel(r, "one")
	cancel(r, "two")
	if got := returned(); len(got) != 1 || !slices.Equal(got[0], []string{a.Id, next.Id}) {
		t.Errorf("batches %v", got)
	}
	create(r, &raftlogv1.CompactionJob{Name: "three", Shard: 1, Sources: []string{a.Id, next.Id}, Attempts: 1})
	if got := returned(); len(got) != 0 {
		t.Errorf("batches %v", got)
	}
}

// What was made after the moment of a deletion stays, whether it came before the
// deletion was applied or after; repeating the deletion does not reach it.
func TestDeletionLeavesWhatIsYounger(t *testing.T) {
	for _, tenant := range []string{"", "acme"} { // segments, and the tenant's own
		for _, early := range []bool{true, false} {
			old, younger := inPartition(10, 1, tenant, 0), inPartition(10, 100, tenant, 0)
			blocks := []*metastorev1.BlockMeta{old}
			if early {
				blocks = append(blocks, younger)
			}
			r := filled(t, blocks...)
			for range 2 {
				for keyspace := range wholeSpans() {
					wantStatus(t, r.apply(deletionOf("acme", keyspace, createdAt(old))), raftlogv1.Result_STATUS_OK)
				}
				if !early {
					wantStatus(t, r.apply(addCommand(inPartition(10, 100, tenant, 0))), raftlogv1.Result_STATUS_OK)
					early = true
				}
				if got := found(t, r, "acme"); !slices.Equal(got, []string{younger.Id}) {
					t.Errorf("found %v of tenant %q", got, tenant)
				}
				tenants := r.lookup(statemachine.ListTenants{Context: t.Context(), Ranges: wholeSpans()}).([]string)
				if !slices.Contains(tenants, "acme") {
					t.Errorf("tenants %v", tenants)
				}
				r.check()
			}
		}
	}
}

// Results of jobs of younger segments are there, also if the deletion is
// repeated while they run.
func TestRepeatedDeletionDuringCompaction(t *testing.T) {
	old, younger := inPartition(10, 1, "", 0), inPartition(10, 100, "", 0)
	r := filled(t, old)
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	r.apply(deletionOf("acme", 1, createdAt(old)))
	r.apply(addCommand(younger))
	c := runningJob(t, r, epoch, younger)
	r.apply(deletionOf("acme", 1, createdAt(old)))
	c.Blocks = []*metastorev1.BlockMeta{inPartition(10, 101, "acme", 1)}
	result := c.Blocks[0].Id
	r.decide(&raftlogv1.CompactionDecision{Complete: []*raftlogv1.JobCompletion{c}}, raftlogv1.Result_STATUS_OK)
	if got := found(t, r, "acme"); !slices.Equal(got, []string{result}) {
		t.Errorf("found %v", got)
	}

	// Made of nothing but what was deleted, by a worker that reads the objects.
	r = filled(t, old)
	epoch = r.apply(claim("a", 1)).GetLeaderEpoch()
	r.apply(deletionOf("acme", 1, createdAt(old)))
	c = runningJob(t, r, epoch, inPartition(10, 1, "", 0))
	c.Blocks = []*metastorev1.BlockMeta{inPartition(10, 1, "acme", 1)}
	r.decide(&raftlogv1.CompactionDecision{Complete: []*raftlogv1.JobCompletion{c}}, raftlogv1.Result_STATUS_OK)
	if got := found(t, r, "acme"); len(got) != 0 {
		t.Errorf("deleted, and found %v", got)
	}
}

// Each deletion's tombstones have names of their own, also in one entry.
func TestDeletionsInOneEntry(t *testing.T) {
	segment, own := inPartition(10, 1, "", 0), inPartition(10, 2, "acme", 1)
	r := filled(t, segment, own)
	c := runningJob(t, r, r.apply(claim("a", 1)).GetLeaderEpoch(), segment)
	c.Blocks = []*metastorev1.BlockMeta{inPartition(10, 3, "acme", 1)}
	r.decide(&raftlogv1.CompactionDecision{Complete: []*raftlogv1.JobCompletion{c}}, raftlogv1.Result_STATUS_OK)
	until := createdAt(own) + 1000
	r.applyEntry(&raftlogv1.Entry{Commands: []*raftlogv1.Command{deletionOf("acme", 0, until), deletionOf("acme", 1, until)}})
	if got := lines(stored(t, r), "tombstone deleted"); len(got) != 2 {
		t.Errorf("tombstones %v", got)
	}
}

// What is hidden does not make its tenant known again: not when it comes late,
// and not when its shard is renumbered.
func TestDeletedTenantsStayUnknown(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	epoch := r.apply(claim("a", 1)).GetLeaderEpoch()
	var segments []*metastorev1.BlockMeta
	for i := range 1100 {
		segments = append(segments, shared(10, i))
		r.apply(addCommand(shared(10, i)))
	}
	r.apply(deletionOf("acme", 1, createdAt(segments[1099])+100))
	tenants := func() []string {
		return r.lookup(statemachine.ListTenants{Context: t.Context(), Ranges: wholeSpans()}).([]string)
	}
	r.apply(addCommand(shared(10, 1150)))
	if got := tenants(); !slices.Equal(got, []string{"other"}) {
		t.Errorf("with a late segment: %v", got)
	}
	c := runningJob(t, r, epoch, segments[:1090]...)
	c.Blocks = []*metastorev1.BlockMeta{inPartition(10, 0, "other", 1)}
	r.decide(&raftlogv1.CompactionDecision{Complete: []*raftlogv1.JobCompletion{c}}, raftlogv1.Result_STATUS_OK)
	if got := tenants(); !slices.Equal(got, []string{"other"}) {
		t.Errorf("renumbered: %v", got)
	}
	r.check()
}

// What waits leaves the queue, of however many partitions at once.
func TestDeletionOfALongQueue(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	var entry raftlogv1.Entry
	for n := range 4000 {
		entry.Commands = append(entry.Commands, addCommand(inPartition(10+n%400, n, "acme", 1)))
	}
	r.applyEntry(&entry)
	if removed := r.deleteTenant("acme", 1000*partitionMillis); removed != 4000 {
		t.Errorf("%d blocks left the index", removed)
	}
	if got := lines(stored(t, r), "queued"); len(got) != 0 {
		t.Errorf("%d blocks wait", len(got))
	}
}
