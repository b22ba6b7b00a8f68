package shardgroup

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/storage/kv"
)

// tableGroup is a group's tables without Raft: entries are applied by hand.
type tableGroup struct {
	t       *testing.T
	machine *statemachine.Machine
	applied uint64
}

func (g *tableGroup) apply(commands ...*raftlogv1.Command) {
	g.t.Helper()
	encoded, err := (&raftlogv1.Entry{ProposedAt: uint64(time.Hour), Commands: commands}).MarshalVT()
	if err != nil {
		g.t.Fatal(err)
	}
	g.applied++
	applied, err := g.machine.Update([]sm.Entry{{Index: g.applied, Cmd: encoded}})
	if err != nil {
		g.t.Fatal(err)
	}
	var results raftlogv1.Results
	if err := results.UnmarshalVT(applied[0].Result.Data); err != nil {
		g.t.Fatal(err)
	}
	for _, result := range results.GetResults() {
		if result.GetStatus() != raftlogv1.Result_STATUS_OK {
			g.t.Fatalf("refused: %v", result)
		}
	}
}

func (g *tableGroup) command(kind raftlogv1.Kind, payload interface{ MarshalVT() ([]byte, error) }) *raftlogv1.Command {
	encoded, err := payload.MarshalVT()
	if err != nil {
		g.t.Fatal(err)
	}
	return &raftlogv1.Command{Kind: kind, Payload: encoded}
}

// Ten thousand tenants with one block each: every block becomes a job of its own,
// none is forgotten, and a poll costs as many jobs as it hands out.
func TestManyTenantsWithOneBlock(t *testing.T) {
	const tenants = 10_000
	engine, err := kv.OpenEngine(t.TempDir(), kv.EngineOptions{Durability: kv.NoWAL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	db, err := engine.DB(2)
	if err != nil {
		t.Fatal(err)
	}
	g := &tableGroup{t: t, machine: statemachine.NewData(db, statemachine.NewCache(8<<20))}
	whole := clusterv1.Keyspace_KEYSPACE_TENANT
	g.apply(g.command(raftlogv1.Kind_KIND_INIT_GROUP, &raftlogv1.InitGroup{ClusterId: "c", GroupId: 2, Ranges: []*clusterv1.Range{
		{RangeId: 1, Keyspace: whole, GroupId: 2, Epoch: 1},
	}}), g.command(raftlogv1.Kind_KIND_CLAIM_LEADERSHIP, &raftlogv1.ClaimLeadership{NodeId: "n", Term: 1}))
	block := func(n int, level uint32) *metastorev1.BlockMeta {
		var id ulid.ULID
		binary.BigEndian.PutUint64(id[8:], uint64(n)<<8|uint64(level))
		return &metastorev1.BlockMeta{Id: id.String(), Tenant: 1, Shard: 1, CompactionLevel: level, StringTable: []string{"", fmt.Sprint("tenant-", n)}}
	}
	var adds []*raftlogv1.Command
	byTenant := map[string]int{}
	for n := range tenants {
		b := block(n, 2)
		byTenant[b.TenantName()] = n
		add := g.command(raftlogv1.Kind_KIND_ADD_BLOCK, b)
		add.Range = &clusterv1.RangeRef{Keyspace: whole, Epoch: 1}
		if adds = append(adds, add); len(adds) == 1000 {
			g.apply(adds...)
			adds = adds[:0]
		}
	}

	config, now := schedule.Defaults(), planner.Time(5*time.Hour)
	config.Compaction.TombstonesMax = 0 // no jobs but those of blocks
	ask, done, polls := schedule.Request{Capacity: 256}, 0, 0
	for ; done < tenants; polls++ {
		if polls > 3*tenants/256 {
			t.Fatalf("%d of %d blocks are compacted after %d polls", done, tenants, polls)
		}
		var d schedule.Decision
		var jobs []*metastorev1.CompactionJob
		if _, err := g.machine.Lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
			var err error
			if d, err = schedule.Poll(planView{v}, config, now, ask); err != nil {
				return err
			}
			answer, err := d.Answer(planView{v}.workerJob)
			jobs = answer.GetCompactionJobs()
			return err
		}}); err != nil {
			t.Fatal(err)
		}
		done += len(d.Complete)
		g.apply(g.command(raftlogv1.Kind_KIND_DECIDE_COMPACTION, compactionDecision(1, d)))
		ask.Updates = nil
		for i, job := range jobs {
			if len(job.GetSourceBlocks()) != 1 {
				t.Fatalf("job %v", job)
			}
			ask.Updates = append(ask.Updates, schedule.Update{
				Name: job.GetName(), Token: d.Assign[i].Token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS,
				Result: &metastorev1.CompactedBlocks{
					SourceBlocks: &metastorev1.BlockList{Tenant: job.GetTenant(), Shard: 1, Blocks: job.GetSourceBlocks()},
					NewBlocks:    []*metastorev1.BlockMeta{block(byTenant[job.GetTenant()], 3)},
				},
			})
		}
	}
	// Nothing waits but objects to delete: that is work, too, once they are due.
	hint := func(now planner.Time) (levels []*nodev1.LevelBacklog) {
		if _, err := g.machine.Lookup(statemachine.Inspect{Fn: func(v statemachine.View) (err error) {
			levels, err = backlog(v, now, schedule.Defaults().Compaction)
			return err
		}}); err != nil {
			t.Fatal(err)
		}
		return levels
	}
	if early := hint(planner.Time(time.Hour)); len(early) != 0 {
		t.Errorf("before tombstones are due: %v", early)
	}
	if due := hint(now); len(due) != 1 || due[0].GetLevel() != queue.Levels || due[0].GetJobsWaiting() != 1 {
		t.Errorf("once they are due: %v", due)
	}
	for n := 0; n < tenants; n += 997 {
		want := block(n, 3)
		id, err := metastorev1.ParseID(want.GetId())
		if err != nil {
			t.Fatal(err)
		}
		found, err := g.machine.Lookup(statemachine.GetBlocks{
			Context: t.Context(), Range: &clusterv1.RangeRef{Keyspace: whole, Epoch: 1}, Tenant: want.TenantName(), Shard: 1, IDs: []ulid.ULID{id},
		})
		if err != nil || len(found.([][]byte)) != 1 {
			t.Errorf("block of %s: %v", want.TenantName(), err)
		}
	}
}
