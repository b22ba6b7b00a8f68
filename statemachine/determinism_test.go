package statemachine_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/oklog/ulid/v2"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// history is a log with everything that can happen: real and made-up blocks,
// repeats, refusals of each kind, claims, and entries of several commands.
func history(t *testing.T) []*raftlogv1.Entry {
	random := rand.New(rand.NewPCG(1, 1))
	entries := []*raftlogv1.Entry{
		{ProposedAt: 5, Commands: []*raftlogv1.Command{addCommand(realBlocks(t)[0])}}, // before the group owns anything
		{ProposedAt: 7, Commands: []*raftlogv1.Command{initCommand()}},
		{ProposedAt: 6, Commands: []*raftlogv1.Command{claim("node-a", 1)}},
	}
	var commands []*raftlogv1.Command
	for _, block := range realBlocks(t) {
		commands = append(commands, addCommand(block))
	}
	for range 100 {
		commands = append(commands, addCommand(randomBlock(random)))
	}
	random.Shuffle(len(commands), func(i, j int) { commands[i], commands[j] = commands[j], commands[i] })
	clock, epoch := uint64(100), uint64(1)
	for len(commands) > 0 {
		clock += random.Uint64N(20)
		entry := &raftlogv1.Entry{ProposedAt: clock - random.Uint64N(10)}
		n := min(1+random.IntN(4), len(commands))
		entry.Commands, commands = append(entry.Commands, commands[:n]...), commands[n:]
		switch random.IntN(10) {
		case 0: // a repeat
			entry.Commands = append(entry.Commands, entry.Commands[0])
		case 1:
			entry.Commands = append(entry.Commands, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_ADD_BLOCK, Payload: []byte("no block")})
		case 2:
			stale := addCommand(randomBlock(random))
			stale.Range.Epoch = 0
			entry.Commands = append(entry.Commands, stale)
		case 3:
			entry.Commands = append(entry.Commands, claim("node-b", epoch+1))
			epoch++
		case 4:
			entry.LeaderEpoch = epoch + uint64(random.IntN(2))
		}
		entries = append(entries, entry)
	}
	return entries
}

func claim(node string, term uint64) *raftlogv1.Command {
	return command(raftlogv1.Kind_KIND_CLAIM_LEADERSHIP, &raftlogv1.ClaimLeadership{NodeId: node, Term: term})
}

func TestDeterministic(t *testing.T) {
	t.Run("adds", func(t *testing.T) { testDeterministic(t, statemachine.NewData, history(t)) })
	t.Run("ranges", func(t *testing.T) { testDeterministic(t, statemachine.NewData, rangeChanges(t)) })
	t.Run("transfers", func(t *testing.T) {
		log := transfers(t)
		if testing.Short() {
			log = log[:100]
		}
		testDeterministic(t, statemachine.NewData, log)
	})
	t.Run("directory", func(t *testing.T) { testDeterministic(t, statemachine.NewDirectory, directoryChanges(t)) })
	t.Run("decisions", func(t *testing.T) {
		log := decisions(t)
		if testing.Short() {
			log = log[:100]
		}
		testDeterministic(t, statemachine.NewData, log)
	})
}

// directoryChanges is a log of changes of the directory, good and bad.
func directoryChanges(t *testing.T) []*raftlogv1.Entry {
	w := newDirectoryWalk(t, 99)
	for range 150 {
		w.step()
	}
	return w.recorded
}

// decisions is a log of decisions about compaction, good and spoiled, with
// retention, deletions of tenants and an operator's words in between.
func decisions(t *testing.T) []*raftlogv1.Entry {
	d := newDecider(t, 77)
	for range 150 {
		d.m.now += d.random.Int64N(5)
		switch d.random.IntN(12) {
		case 0:
			d.r.deleteTenant([]string{"acme", "other", "b"}[d.random.IntN(3)], ulid.MustParseStrict(d.m.fresh("", 0).Id).Time()-d.random.Uint64N(2))
		case 1:
			var decision raftlogv1.RetentionDecision
			decision.LeaderEpoch = d.epoch
			for _, info := range listed(t, d.r) {
				if d.random.IntN(3) == 0 {
					decision.Shards = append(decision.Shards, expired(info))
				}
			}
			d.r.apply(command(raftlogv1.Kind_KIND_DECIDE_RETENTION, &decision))
		case 2:
			for _, name := range slices.Sorted(maps.Keys(d.jobs()))[:min(1, len(d.jobs()))] {
				action := raftlogv1.ControlCompaction_Action(3 + d.random.IntN(2))
				d.r.apply(command(raftlogv1.Kind_KIND_CONTROL_COMPACTION, &raftlogv1.ControlCompaction{Action: action, Job: name}))
			}
		default:
			d.blind()
		}
	}
	return d.r.recorded
}

// transfers is the log of a group that exchanges transfers with itself, over a
// bad network.
func transfers(t *testing.T) []*raftlogv1.Entry {
	e := newExchange(t, 5, layouts["one group"])
	for range 300 {
		e.step()
	}
	return e.groups[0].recorded
}

type machineMaker func(*kv.DB, *statemachine.Cache) *statemachine.Machine

func testDeterministic(t *testing.T, maker machineMaker, log []*raftlogv1.Entry) {
	newReplica := func(t *testing.T) *replica { return newReplicaOf(t, maker) }
	reference := newReplica(t)
	var answers []*raftlogv1.Results
	for range log {
		answers = append(answers, reference.update(log, 1)...)
	}
	want := reference.hash()
	if status := reference.status(); status.Applied < 90 || status.LeaderEpoch < 1 {
		t.Fatalf("the history does too little: %+v", status)
	}
	reference.check()
	check := func(t *testing.T, r *replica) {
		t.Helper()
		if got := r.hash(); got != want {
			t.Errorf("hash %x, want %x", got, want)
		}
		if r.status().Applied != uint64(len(log)) {
			t.Errorf("applied %d of %d", r.status().Applied, len(log))
		}
	}

	t.Run("other batches", func(t *testing.T) {
		for seed := range uint64(5) {
			random := rand.New(rand.NewPCG(seed, 2))
			r := newReplica(t)
			for r.applied < uint64(len(log)) {
				before := r.applied
				n := min(1+random.IntN(30), len(log)-int(r.applied))
				for i, results := range r.update(log, n) {
					compareResults(t, results, answers[int(before)+i])
				}
			}
			check(t, r)
		}
	})

	t.Run("clean restart after each entry", func(t *testing.T) {
		r := newReplica(t)
		for i := range log {
			r.update(log, 1)
			r.close()
			r.open()
			if r.applied != uint64(i+1) {
				t.Fatalf("stopped at %d, opened at %d", i+1, r.applied)
			}
		}
		check(t, r)
	})

	t.Run("crash after each entry", func(t *testing.T) {
		r := newReplica(t)
		for i := range log {
			for r.applied <= uint64(i) { // replays what the crash lost
				r.update(log, 1)
			}
			if i%7 == 0 {
				if err := r.machine.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			r.crash()
			if r.applied < uint64(i/7*7+1) {
				t.Fatalf("synced up to %d, opened at %d", i/7*7+1, r.applied)
			}
		}
		r.update(log, len(log)-int(r.applied))
		check(t, r)
	})

	t.Run("snapshot", func(t *testing.T) {
		for _, at := range []int{0, 1, 2, len(log) / 2, len(log)} {
			source := newReplica(t)
			source.update(log, at)
			snapshot := save(t, source, func() {
				source.update(log, len(log)-at) // the snapshot must not see this
			})
			fresh, dirty := newReplica(t), newReplica(t)
			soil(t, dirty, log[0].Commands[0].GetKind() == raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY)
			for _, r := range []*replica{fresh, dirty} {
				if err := r.machine.RecoverFromSnapshot(bytes.NewReader(snapshot), nil); err != nil {
					t.Fatal(err)
				}
				if r.applied = r.status().Applied; r.applied != uint64(at) {
					t.Fatalf("recovered at %d, want %d", r.applied, at)
				}
				if r == fresh { // the other goes on, and must forget what it was
					r.crash() // an installed snapshot is durable
				}
				if r.applied != uint64(at) {
					t.Fatalf("recovered at %d, opened at %d", at, r.applied)
				}
				r.update(log, len(log)-at)
				check(t, r)
			}
		}
	})

	t.Run("damaged snapshot changes nothing", func(t *testing.T) {
		snapshot := save(t, reference, func() {})
		r := newReplica(t)
		r.update(log, 10)
		before := r.hash()
		for _, size := range []int{0, 1, len(snapshot) / 2, len(snapshot) - 1} {
			if err := r.machine.RecoverFromSnapshot(bytes.NewReader(snapshot[:size]), nil); err == nil {
				t.Errorf("%d of %d bytes were accepted", size, len(snapshot))
			}
			if r.hash() != before {
				t.Fatalf("%d of %d bytes changed the state", size, len(snapshot))
			}
		}
	})
}

// soil fills a replica with what is not in the log.
func soil(t *testing.T, r *replica, directory bool) {
	if directory {
		r.apply(bootstrapCommand(t, "another"))
		for i := range 20 {
			r.apply(changeCommand(0, register(testNode(fmt.Sprint("soil", i), 1))))
		}
		return
	}
	for _, garbage := range realBlocks(t)[:20] {
		garbage.Shard += 100
		r.apply(initCommand())
		r.apply(addCommand(garbage))
	}
}

// save takes a snapshot; meanwhile runs between preparing and saving.
func save(t *testing.T, r *replica, meanwhile func()) []byte {
	t.Helper()
	prepared, err := r.machine.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	meanwhile()
	var snapshot bytes.Buffer
	if err := r.machine.SaveSnapshot(prepared, &snapshot, nil); err != nil {
		t.Fatal(err)
	}
	return snapshot.Bytes()
}

func compareResults(t *testing.T, got, want *raftlogv1.Results) {
	t.Helper()
	g, _ := got.MarshalVT()
	w, _ := want.MarshalVT()
	if !bytes.Equal(g, w) {
		t.Errorf("results %v, want %v", got, want)
	}
}

func TestSnapshotStops(t *testing.T) {
	r := newReplica(t)
	r.apply(initCommand())
	stop := make(chan struct{})
	close(stop)
	prepared, err := r.machine.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.machine.SaveSnapshot(prepared, io.Discard, stop); err == nil {
		t.Error("a stopped snapshot was saved")
	}
	if err := r.machine.SaveSnapshot(prepared, io.Discard, nil); err == nil {
		t.Error("a snapshot was saved twice")
	}
	// One that is never saved must not keep the store from closing.
	if _, err := r.machine.PrepareSnapshot(); err != nil {
		t.Fatal(err)
	}
}

var rewrite = flag.Bool("rewrite", false, "write the recorded log of this release anew")

// Logs outlive releases: one that was recorded must give the same results and
// the same state for ever. A difference here means that replicas of two
// releases diverge.
func TestRecordedLog(t *testing.T) {
	for name, log := range map[string]struct {
		maker machineMaker
		log   func(*testing.T) []*raftlogv1.Entry
	}{
		"adds":      {statemachine.NewData, history},
		"decisions": {statemachine.NewData, decisions},
		"ranges":    {statemachine.NewData, rangeChanges},
		"transfers": {statemachine.NewData, transfers},
		"directory": {statemachine.NewDirectory, directoryChanges},
	} {
		t.Run(name, func(t *testing.T) { testRecorded(t, log.maker, "testdata/"+name+"-v1.pb", log.log) })
	}
}

func testRecorded(t *testing.T, maker machineMaker, recorded string, log func(*testing.T) []*raftlogv1.Entry) {
	if *rewrite {
		var content []byte
		for _, entry := range log(t) {
			encoded, err := entry.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			content = binary.BigEndian.AppendUint32(content, uint32(len(encoded)))
			content = append(content, encoded...)
		}
		if err := os.WriteFile(recorded, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rest, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	r, digest := newReplicaOf(t, maker), sha256.New()
	for len(rest) > 0 {
		size := binary.BigEndian.Uint32(rest)
		entry := sm.Entry{Index: r.applied + 1, Cmd: rest[4 : 4+size]}
		applied, err := r.machine.Update([]sm.Entry{entry})
		if err != nil {
			t.Fatal(err)
		}
		r.applied++
		var results raftlogv1.Results
		if err := results.UnmarshalVT(applied[0].Result.Data); err != nil {
			t.Fatal(err)
		}
		for _, result := range results.GetResults() { // what was decided, not how it is worded
			fmt.Fprintln(digest, result.GetStatus(), result.GetRoute().GetReason(), result.GetLeaderEpoch())
		}
		rest = rest[4+size:]
	}
	got := fmt.Sprintf("results %x\nstate %x\n", digest.Sum(nil), r.hash())
	if *rewrite {
		if err := os.WriteFile(recorded+".sum", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(recorded + ".sum"); err != nil || got != string(want) {
		t.Errorf("%s: got\n%swant\n%s(%v)\nother results make replicas of two releases diverge; for another state alone, raise the format in shardgroup/identity.go", recorded, got, want, err)
	}
}
