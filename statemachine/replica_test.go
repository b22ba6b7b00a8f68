package statemachine_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// replica is a machine on a store of its own, fed by hand.
type replica struct {
	t       *testing.T
	dir     string
	engine  *kv.Engine
	machine *statemachine.Machine
	// Index of the last entry applied.
	applied uint64
	// What applyEntry was given.
	recorded []*raftlogv1.Entry
	make     func(*kv.DB, *statemachine.Cache) *statemachine.Machine
}

const group = 7

func newReplica(t *testing.T) *replica { return newReplicaOf(t, statemachine.NewData) }

func newReplicaOf(t *testing.T, make func(*kv.DB, *statemachine.Cache) *statemachine.Machine) *replica {
	t.Helper()
	r := &replica{t: t, dir: t.TempDir(), make: make}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *replica) open() {
	r.t.Helper()
	var err error
	if r.engine, err = kv.OpenEngine(r.dir, kv.EngineOptions{}); err != nil {
		r.t.Fatal(err)
	}
	db, err := r.engine.DB(group)
	if err != nil {
		r.t.Fatal(err)
	}
	r.machine = r.make(db, statemachine.NewCache(1<<20))
	if r.applied, err = r.machine.Open(nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) close() {
	r.t.Helper()
	if err := r.machine.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.engine.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// crash loses what was not synced.
func (r *replica) crash() {
	r.t.Helper()
	if err := r.engine.Abandon(); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// update applies the entries of the log from the next one on, n of them, in
// one batch.
func (r *replica) update(log []*raftlogv1.Entry, n int) []*raftlogv1.Results {
	r.t.Helper()
	var batch []sm.Entry
	for _, entry := range log[r.applied:][:n] {
		encoded, err := entry.MarshalVT()
		if err != nil {
			r.t.Fatal(err)
		}
		r.applied++
		batch = append(batch, sm.Entry{Index: r.applied, Cmd: encoded})
	}
	applied, err := r.machine.Update(batch)
	if err != nil {
		r.t.Fatal(err)
	}
	results := make([]*raftlogv1.Results, len(applied))
	for i, entry := range applied {
		results[i] = &raftlogv1.Results{}
		if err := results[i].UnmarshalVT(entry.Result.Data); err != nil {
			r.t.Fatal(err)
		}
	}
	return results
}

// apply applies one command as the next entry.
func (r *replica) apply(command *raftlogv1.Command) *raftlogv1.Result {
	r.t.Helper()
	return r.applyEntry(&raftlogv1.Entry{Commands: []*raftlogv1.Command{command}})
}

func (r *replica) applyEntry(entry *raftlogv1.Entry) *raftlogv1.Result {
	r.t.Helper()
	encoded, err := entry.MarshalVT()
	if err != nil {
		r.t.Fatal(err)
	}
	r.applied++
	r.recorded = append(r.recorded, entry)
	applied, err := r.machine.Update([]sm.Entry{{Index: r.applied, Cmd: encoded}})
	if err != nil {
		r.t.Fatal(err)
	}
	var results raftlogv1.Results
	if err := results.UnmarshalVT(applied[0].Result.Data); err != nil {
		r.t.Fatal(err)
	}
	return results.GetResults()[0]
}

func (r *replica) lookup(query statemachine.Query) any {
	r.t.Helper()
	answer, err := r.machine.Lookup(query)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

func (r *replica) hash() statemachine.Hash {
	r.t.Helper()
	return r.lookup(statemachine.ReadHash{}).(statemachine.Hash)
}

func (r *replica) status() statemachine.Status {
	r.t.Helper()
	return r.lookup(statemachine.ReadStatus{}).(statemachine.Status)
}

// The whole of both keyspaces, at the epoch that initCommand gives them.
func wholeSpans() []*clusterv1.RangeRef {
	return []*clusterv1.RangeRef{
		{Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Epoch: 1},
		{Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM, Epoch: 1},
	}
}

// initCommand makes the group own everything.
func initCommand() *raftlogv1.Command {
	return command(raftlogv1.Kind_KIND_INIT_GROUP, &raftlogv1.InitGroup{ClusterId: "cluster", GroupId: group, Ranges: []*clusterv1.Range{
		{RangeId: 1, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, GroupId: group, Epoch: 1},
		{RangeId: 2, Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM, GroupId: group, Epoch: 1},
	}})
}

func addCommand(block *metastorev1.BlockMeta) *raftlogv1.Command {
	c := command(raftlogv1.Kind_KIND_ADD_BLOCK, block)
	c.Range = pointRef(block.TenantName(), block.GetShard())
	return c
}

// pointRef is the smallest span that holds a block.
func pointRef(tenant string, shard uint32) *clusterv1.RangeRef {
	keyspace, point := clusterv1.BlockPoint(tenant, shard)
	return &clusterv1.RangeRef{Keyspace: keyspace, Lo: point, Hi: point + 1, Epoch: 1}
}

func command(kind raftlogv1.Kind, payload interface{ MarshalVT() ([]byte, error) }) *raftlogv1.Command {
	encoded, err := payload.MarshalVT()
	if err != nil {
		panic(err)
	}
	return &raftlogv1.Command{Kind: kind, RequestId: make([]byte, 16), Payload: encoded}
}

// realBlocks are captured from a running Pyroscope.
func realBlocks(t testing.TB) []*metastorev1.BlockMeta {
	t.Helper()
	var blocks []*metastorev1.BlockMeta
	for _, name := range []string{"L0.pb", "L1.pb", "L2.pb"} {
		rest, err := os.ReadFile(filepath.Join("../proto/testdata/blocks", name))
		if err != nil {
			t.Fatal(err)
		}
		for len(rest) > 0 {
			size := binary.BigEndian.Uint32(rest)
			block := &metastorev1.BlockMeta{}
			if err := block.UnmarshalVT(rest[4 : 4+size]); err != nil {
				t.Fatal(err)
			}
			blocks = append(blocks, block)
			rest = rest[4+size:]
		}
	}
	return blocks
}
