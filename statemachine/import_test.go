package statemachine_test

import (
	"strings"
	"testing"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/index"
)

func importCommand(tombstones ...*raftlogv1.Tombstone) *raftlogv1.Command {
	c := command(raftlogv1.Kind_KIND_IMPORT_TOMBSTONES, &raftlogv1.ImportTombstones{Tombstones: tombstones})
	c.Range = wholeSpans()[0]
	if len(tombstones) > 0 && tombstones[0].GetTenant() == "" {
		c.Range = wholeSpans()[1]
	}
	return c
}

func imported(t *testing.T, r *replica, tombstones ...*raftlogv1.Tombstone) []raftlogv1.ImportOutcome {
	t.Helper()
	result := r.apply(importCommand(tombstones...))
	wantStatus(t, result, raftlogv1.Result_STATUS_OK)
	outcomes := &raftlogv1.ImportOutcomes{}
	if err := outcomes.UnmarshalVT(result.GetPayload()); err != nil {
		t.Fatal(err)
	}
	return outcomes.GetOutcomes()
}

const (
	added = raftlogv1.ImportOutcome_IMPORT_OUTCOME_ADDED
	held  = raftlogv1.ImportOutcome_IMPORT_OUTCOME_HELD
	live  = raftlogv1.ImportOutcome_IMPORT_OUTCOME_LIVE
)

func partition(n int) uint64 { return uint64(n * index.PartitionSeconds) }

// Tombstones of another metastore wait from the moment on in which they come, keep
// their blocks out, and are held once.
func TestImportTombstones(t *testing.T) {
	alive, dead := inPartition(12, 1, "acme", 1), inPartition(10, 1, "acme", 1)
	r := filled(t, alive)
	r.applyEntry(&raftlogv1.Entry{ProposedAt: 777, Commands: []*raftlogv1.Command{claim("a", 1)}})
	blocks := &raftlogv1.Tombstone{Name: "imported: job", Tenant: "acme", Shard: 1, Level: 1, Blocks: []string{dead.Id}, Since: 5, Job: "none", Token: 9}
	buried := &raftlogv1.Tombstone{Name: "imported: old", Tenant: "acme", Shard: 1, Partition: partition(11)}
	want(t, imported(t, r, blocks, buried), []raftlogv1.ImportOutcome{added, added})
	before := stored(t, r)
	want(t, imported(t, r, buried, blocks), []raftlogv1.ImportOutcome{held, held})
	if after := stored(t, r); after != before {
		t.Error("a repeat changed the tables")
	}
	wantStatus(t, r.apply(addCommand(dead)), raftlogv1.Result_STATUS_ALREADY)
	want(t, r.status().Blocks, 1)
	var waiting []string
	r.lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		for tombstone, err := range v.Tombstones.Waiting() {
			if err != nil {
				return err
			}
			if tombstone.GetSince() != 777 || tombstone.GetToken() != 0 {
				t.Errorf("it waits as %v", tombstone)
			}
			waiting = append(waiting, tombstone.GetName())
		}
		return nil
	}})
	want(t, waiting, "[imported: job imported: old]")
	r.check()
}

// What would delete the object of a block that queries find is left out: also if the
// block came in the same entry, in whatever partition before.
func TestImportedTombstonesSpareWhatIsLive(t *testing.T) {
	block, segment := inPartition(10, 1, "acme", 3), inPartition(10, 2, "", 0)
	r := filled(t, segment)
	results := r.update(append(r.recorded, &raftlogv1.Entry{Commands: []*raftlogv1.Command{
		addCommand(block), importCommand(&raftlogv1.Tombstone{Name: "x", Tenant: "acme", Shard: 1, Partition: partition(11)}),
	}}), 1)
	outcomes := &raftlogv1.ImportOutcomes{}
	if err := outcomes.UnmarshalVT(results[0].Results[1].Payload); err != nil {
		t.Fatal(err)
	}
	want(t, outcomes.Outcomes, []raftlogv1.ImportOutcome{live})
	of := func(block *metastorev1.BlockMeta, shard uint32) *raftlogv1.Tombstone {
		return &raftlogv1.Tombstone{Name: "x", Tenant: block.TenantName(), Shard: shard, Blocks: []string{inPartition(9, 5, "", 0).Id, block.Id}}
	}
	before := stored(t, r)
	want(t, imported(t, r, of(block, 1)), []raftlogv1.ImportOutcome{live})
	want(t, imported(t, r, of(segment, 1)), []raftlogv1.ImportOutcome{live})
	for _, at := range []int{10, 11} {
		want(t, imported(t, r, &raftlogv1.Tombstone{Name: "x", Shard: 1, Partition: partition(at)}), []raftlogv1.ImportOutcome{live})
		want(t, imported(t, r, &raftlogv1.Tombstone{Name: "x", Tenant: "acme", Shard: 1, Partition: partition(at)}), []raftlogv1.ImportOutcome{live})
	}
	if after := stored(t, r); after != before {
		t.Error("what was left out changed the tables")
	}
	want(t, imported(t, r, &raftlogv1.Tombstone{Name: "before", Tenant: "acme", Shard: 1, Partition: partition(9)}), []raftlogv1.ImportOutcome{added})
	want(t, imported(t, r, of(block, 2)), []raftlogv1.ImportOutcome{added}) // another shard's object
	r.check()
}

func TestImportRefusals(t *testing.T) {
	r := filled(t)
	before := stored(t, r)
	id := inPartition(9, 5, "", 0).Id
	good := &raftlogv1.Tombstone{Name: "x", Tenant: "acme", Shard: 1, Blocks: []string{id}}
	span := importCommand(good)
	span.Range = pointRef("acme", 2)
	many := make([]string, 1001)
	for i := range many {
		many[i] = id
	}
	for name, c := range map[string]*raftlogv1.Command{
		"no message":     {Kind: raftlogv1.Kind_KIND_IMPORT_TOMBSTONES, Payload: []byte{0xff}, Range: wholeSpans()[0]},
		"another point":  span,
		"twice":          importCommand(good, good),
		"no name":        importCommand(&raftlogv1.Tombstone{Tenant: "acme", Blocks: []string{id}}),
		"a long name":    importCommand(&raftlogv1.Tombstone{Name: strings.Repeat("x", 1<<15), Tenant: "acme", Blocks: []string{id}}),
		"a long tenant":  importCommand(&raftlogv1.Tombstone{Name: "x", Tenant: strings.Repeat("x", 1<<15), Blocks: []string{id}}),
		"nothing":        importCommand(&raftlogv1.Tombstone{Name: "x", Tenant: "acme"}),
		"both":           importCommand(&raftlogv1.Tombstone{Name: "x", Tenant: "acme", Blocks: []string{id}, Partition: partition(1)}),
		"half partition": importCommand(&raftlogv1.Tombstone{Name: "x", Tenant: "acme", Partition: 7}),
		"many":           importCommand(&raftlogv1.Tombstone{Name: "x", Tenant: "acme", Blocks: many}),
		"no id":          importCommand(&raftlogv1.Tombstone{Name: "x", Tenant: "acme", Blocks: []string{strings.ToLower(id)}}),
	} {
		if result := r.apply(c); result.GetStatus() != raftlogv1.Result_STATUS_INVALID {
			t.Errorf("%s: %v", name, result)
		}
	}
	stale := importCommand(good)
	stale.Range.Epoch = 9
	wantStatus(t, r.apply(stale), raftlogv1.Result_STATUS_ROUTE)
	if after := stored(t, r); after != before {
		t.Error("a refusal changed the tables")
	}
}
