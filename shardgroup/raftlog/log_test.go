package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
)

const noLimit = 1 << 40

func openIn(t *testing.T, fs vfs.FS) *Log {
	t.Helper()
	l, err := open(fs, "log", 0, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func entries(term, first uint64, count int) []raftpb.Entry {
	var all []raftpb.Entry
	for i := range uint64(count) {
		all = append(all, raftpb.Entry{Term: term, Index: first + i, Cmd: fmt.Appendf(nil, "%d of term %d", first+i, term)})
	}
	return all
}

// expected is what a replica's log must hold.
type expected struct {
	state    raftpb.State
	durable  uint64 // commit index that was stored
	snapshot uint64
	first    uint64 // of the entries; they were removed before
	entries  []raftpb.Entry
}

func (e *expected) last() uint64 {
	if n := len(e.entries); n > 0 {
		return e.entries[n-1].Index
	}
	return e.snapshot
}

// append replaces all from the first new entry on.
func (e *expected) append(more []raftpb.Entry) {
	for len(e.entries) > 0 && e.last() >= more[0].Index {
		e.entries = e.entries[:len(e.entries)-1]
	}
	e.entries = append(e.entries, more...)
}

func check(t *testing.T, l *Log, of id, want *expected) {
	t.Helper()
	snapshot, err := l.GetSnapshot(of.ShardID, of.ReplicaID)
	must(t, err)
	if snapshot.Index != want.snapshot {
		t.Fatalf("%v: snapshot of %d, want %d", of, snapshot.Index, want.snapshot)
	}
	got, err := l.ReadRaftState(of.ShardID, of.ReplicaID, want.snapshot)
	if raftpb.IsEmptyState(want.state) {
		if !errors.Is(err, raftio.ErrNoSavedLog) {
			t.Fatalf("%v: %v, %v instead of nothing", of, got, err)
		}
		return
	}
	must(t, err)
	if got.State.Term != want.state.Term || got.State.Vote != want.state.Vote {
		t.Fatalf("%v: %+v, want %+v", of, got.State, want.state)
	}
	if commit := got.State.Commit; commit < want.durable || commit < want.snapshot || commit > max(want.state.Commit, want.snapshot) {
		t.Fatalf("%v: committed up to %d; stored %d, snapshot %d, was %d", of, commit, want.durable, want.snapshot, want.state.Commit)
	}
	var known []raftpb.Entry
	for _, e := range want.entries {
		if e.Index >= want.snapshot && e.Index >= want.first {
			known = append(known, e)
		}
	}
	if last := want.last(); last == want.snapshot {
		if got.EntryCount != 0 || got.FirstIndex != want.snapshot {
			t.Fatalf("%v: %+v, want no entries after %d", of, got, want.snapshot)
		}
		return
	}
	if got.FirstIndex != known[0].Index || got.EntryCount != uint64(len(known)) {
		t.Fatalf("%v: entries from %d, %d of them; want from %d, %d", of, got.FirstIndex, got.EntryCount, known[0].Index, len(known))
	}
	read, _, err := l.IterateEntries(nil, 0, of.ShardID, of.ReplicaID, known[0].Index, want.last()+1, noLimit)
	must(t, err)
	if diff := cmp.Diff(known, read); diff != "" {
		t.Fatalf("%v: %s", of, diff)
	}
	beyond, _, err := l.IterateEntries(nil, 0, of.ShardID, of.ReplicaID, want.last()+1, want.last()+100, noLimit)
	if err != nil || len(beyond) != 0 {
		t.Fatalf("%v: entries behind the last: %v, %v", of, beyond, err)
	}
}

// What was saved is there: after a clean end all of it, after a loss of power all
// but commit indexes, which may be older ones.
func TestSavedStays(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			fs := vfs.NewCrashableMem()
			l := openIn(t, fs)
			model := map[id]*expected{}
			for _, group := range []uint64{1, 2, 256} {
				for _, replica := range []uint64{1, 1 << 40} {
					model[id{ShardID: group, ReplicaID: replica}] = &expected{}
				}
			}
			for range 200 {
				step(t, l, model, random)
				switch random.IntN(20) {
				case 0:
					must(t, l.Close())
					for _, want := range model {
						want.durable = want.state.Commit
					}
					l = openIn(t, fs)
				case 1:
					crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
					must(t, l.Close())
					fs = crashed
					l = openIn(t, fs)
					for of, want := range model {
						check(t, l, of, want)
						// Raft finds out again.
						if state, err := l.ReadRaftState(of.ShardID, of.ReplicaID, want.snapshot); err == nil {
							want.state.Commit, want.durable = state.State.Commit, state.State.Commit
						}
					}
				}
				for of, want := range model {
					check(t, l, of, want)
				}
			}
			must(t, l.Close())
		})
	}
}

// step saves something for some replicas.
func step(t *testing.T, l *Log, model map[id]*expected, random *rand.Rand) {
	t.Helper()
	var updates []raftpb.Update
	for of, want := range model {
		if random.IntN(2) == 0 {
			continue
		}
		u := raftpb.Update{ShardID: of.ShardID, ReplicaID: of.ReplicaID}
		switch random.IntN(8) {
		case 0, 1, 2: // the leader of a term appends, perhaps in place of others that were not committed
			want.state.Term = max(1, want.state.Term+uint64(random.IntN(2)))
			first := want.last() + 1
			if over := first - 1 - max(want.state.Commit, want.snapshot); over > 0 {
				first -= random.Uint64N(over + 1)
			}
			u.EntriesToSave = entries(want.state.Term, first, 1+random.IntN(5))
			want.append(u.EntriesToSave)
			u.State, want.durable = want.state, want.state.Commit
		case 3, 4: // a commit
			if want.state.Term > 0 {
				want.state.Commit = max(want.state.Commit, want.last())
				u.State = want.state
			}
		case 5: // a vote
			want.state.Term++
			want.state.Vote = random.Uint64N(3)
			u.State, want.durable = want.state, want.state.Commit
		case 6: // a snapshot of another replica
			if want.state.Term > 0 && random.IntN(3) == 0 {
				want.snapshot = max(want.state.Commit, want.snapshot) + 1 + random.Uint64N(10)
				want.entries, want.state.Commit, want.durable = nil, want.snapshot, want.snapshot
				u.State, u.Snapshot = want.state, raftpb.Snapshot{Index: want.snapshot, Term: want.state.Term}
				if random.IntN(2) == 0 {
					u.EntriesToSave = entries(want.state.Term, want.snapshot+1, 2)
					want.append(u.EntriesToSave)
				}
			}
		case 7: // a snapshot of its own, and what is before it goes
			if want.state.Commit > want.snapshot {
				want.snapshot = want.state.Commit
				own := raftpb.Update{ShardID: of.ShardID, ReplicaID: of.ReplicaID, Snapshot: raftpb.Snapshot{Index: want.snapshot, Term: want.state.Term}}
				must(t, l.SaveSnapshots([]raftpb.Update{own}))
				must(t, l.RemoveEntriesTo(of.ShardID, of.ReplicaID, want.snapshot))
				want.first = want.snapshot
			}
			continue
		}
		updates = append(updates, u)
	}
	must(t, l.SaveRaftState(updates, 1))
}

// A commit index alone costs no sync; everything else does.
func TestCommitsAreNotSynced(t *testing.T) {
	l := openIn(t, vfs.NewMem())
	defer l.Close()
	syncs := func() int {
		m := &dto.Metric{}
		must(t, l.metrics.syncs.Write(m))
		return int(m.GetHistogram().GetSampleCount())
	}
	save := func(u raftpb.Update) int {
		t.Helper()
		before := syncs()
		u.ShardID, u.ReplicaID = 3, 1
		must(t, l.SaveRaftState([]raftpb.Update{u}, 1))
		return syncs() - before
	}
	for _, s := range []struct {
		what   string
		update raftpb.Update
		want   int
	}{
		{"the first state", raftpb.Update{State: raftpb.State{Term: 1}}, 1},
		{"entries", raftpb.Update{EntriesToSave: entries(1, 1, 3)}, 1},
		{"a commit", raftpb.Update{State: raftpb.State{Term: 1, Commit: 3}}, 0},
		{"nothing", raftpb.Update{}, 0},
		{"a vote", raftpb.Update{State: raftpb.State{Term: 1, Vote: 2, Commit: 3}}, 1},
		{"a term", raftpb.Update{State: raftpb.State{Term: 2, Commit: 3}}, 1},
		{"a snapshot", raftpb.Update{Snapshot: raftpb.Snapshot{Index: 10, Term: 2}}, 1},
		{"the same snapshot", raftpb.Update{Snapshot: raftpb.Snapshot{Index: 10, Term: 2}}, 0},
	} {
		if got := save(s.update); got != s.want {
			t.Errorf("%s: %d syncs, want %d", s.what, got, s.want)
		}
	}
}

// What all groups save at once may be more than the store takes in one write.
func TestLargeSavesAreDivided(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := openIn(t, fs)
	l.maxBatch = 5 << 10
	written := func() int {
		m := &dto.Metric{}
		must(t, l.metrics.syncs.Write(m))
		return int(m.GetHistogram().GetSampleCount())
	}
	var updates []raftpb.Update
	for group := range uint64(8) {
		all := entries(1, 1, 3)
		all[1].Cmd = make([]byte, 2<<10)
		updates = append(updates, raftpb.Update{ShardID: 1 + group, ReplicaID: 1, State: raftpb.State{Term: 1}, EntriesToSave: all})
	}
	must(t, l.SaveRaftState(updates, 1))
	if got := written(); got != 4 {
		t.Errorf("%d writes, want 4 of two groups each", got)
	}
	crashed := openIn(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	for _, u := range updates {
		check(t, crashed, id{ShardID: u.ShardID, ReplicaID: 1}, &expected{state: u.State, entries: u.EntriesToSave})
	}
	must(t, crashed.Close())
	// One that is too large by itself is written by itself.
	l.maxBatch = 1
	must(t, l.SaveRaftState([]raftpb.Update{{ShardID: 1, ReplicaID: 1, State: raftpb.State{Term: 1}, EntriesToSave: entries(1, 4, 1)}}, 1))
	must(t, l.Close())
}

// That a change of membership is committed survives a crash, in all ways in which it
// can become so: if the last of two voters forgot that it is alone by now, it would
// wait for ever for one that has forgotten it.
func TestCommittedMembershipIsKept(t *testing.T) {
	change := func(term, index uint64) raftpb.Entry {
		return raftpb.Entry{Term: term, Index: index, Type: raftpb.ConfigChangeEntry, Cmd: []byte("change")}
	}
	of := id{ShardID: 3, ReplicaID: 1}
	save := func(l *Log, u raftpb.Update) {
		u.ShardID, u.ReplicaID = of.ShardID, of.ReplicaID
		must(t, l.SaveRaftState([]raftpb.Update{u}, 1))
	}
	two := append(entries(1, 1, 2), change(1, 3))
	for _, s := range []struct {
		what  string
		saves []raftpb.Update
		// The process starts again after so many saves.
		restart int
	}{
		{"alone", []raftpb.Update{
			{State: raftpb.State{Term: 1}, EntriesToSave: two},
			{State: raftpb.State{Term: 1, Commit: 3}},
		}, 0},
		{"step by step", []raftpb.Update{
			{State: raftpb.State{Term: 1}, EntriesToSave: two},
			{State: raftpb.State{Term: 1, Commit: 1}},
			{EntriesToSave: entries(1, 4, 4)},
			{State: raftpb.State{Term: 1, Commit: 3}},
		}, 0},
		{"after another one", []raftpb.Update{
			{State: raftpb.State{Term: 1}, EntriesToSave: []raftpb.Entry{change(1, 1)}},
			{EntriesToSave: append(entries(1, 2, 1), change(1, 3))},
			{State: raftpb.State{Term: 1, Commit: 3}},
		}, 0},
		{"appended before a restart", []raftpb.Update{
			{State: raftpb.State{Term: 1}, EntriesToSave: append(two, entries(1, 4, 1)...)},
			{State: raftpb.State{Term: 1, Commit: 3}},
		}, 1},
		{"before entries that were replaced", []raftpb.Update{
			{State: raftpb.State{Term: 1}, EntriesToSave: append(two, change(1, 4))},
			{State: raftpb.State{Term: 2}, EntriesToSave: entries(2, 4, 1)},
			{State: raftpb.State{Term: 2, Commit: 3}},
		}, 0},
	} {
		t.Run(s.what, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			l := openIn(t, fs)
			for i, u := range s.saves {
				if i == s.restart && i > 0 {
					must(t, l.Close())
					l = openIn(t, fs)
				}
				save(l, u)
			}
			crashed := openIn(t, fs.CrashClone(vfs.CrashCloneCfg{}))
			if got, err := crashed.ReadRaftState(of.ShardID, of.ReplicaID, 0); err != nil || got.State.Commit != 3 {
				t.Errorf("committed up to %d, want 3 (%v)", got.State.Commit, err)
			}
			must(t, crashed.Close())
			must(t, l.Close())
		})
	}
}

// A replica that left takes its log along, and others keep theirs.
func TestRemoveNodeData(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := openIn(t, fs)
	left, stays := id{ShardID: 5, ReplicaID: 1}, id{ShardID: 5, ReplicaID: 2}
	for _, of := range []id{left, stays} {
		must(t, l.SaveBootstrapInfo(of.ShardID, of.ReplicaID, raftpb.Bootstrap{Join: true}))
		must(t, l.SaveRaftState([]raftpb.Update{{
			ShardID: of.ShardID, ReplicaID: of.ReplicaID, State: raftpb.State{Term: 4, Vote: 1, Commit: 2}, EntriesToSave: entries(4, 1, 3),
		}}, 1))
	}
	must(t, l.RemoveNodeData(left.ShardID, left.ReplicaID))
	for _, l := range []*Log{l, openIn(t, fs.CrashClone(vfs.CrashCloneCfg{}))} {
		check(t, l, left, &expected{})
		check(t, l, stays, &expected{state: raftpb.State{Term: 4, Vote: 1, Commit: 2}, entries: entries(4, 1, 3)})
		if _, err := l.GetBootstrapInfo(left.ShardID, left.ReplicaID); !errors.Is(err, raftio.ErrNoBootstrapInfo) {
			t.Errorf("the bootstrap record is left: %v", err)
		}
		if all, err := l.ListNodeInfo(); err != nil || len(all) != 1 || all[0] != stays {
			t.Errorf("listed %v, %v", all, err)
		}
		defer l.Close()
	}
}

func TestImportSnapshot(t *testing.T) {
	l := openIn(t, vfs.NewMem())
	defer l.Close()
	of := id{ShardID: 5, ReplicaID: 3}
	must(t, l.SaveRaftState([]raftpb.Update{{
		ShardID: of.ShardID, ReplicaID: of.ReplicaID, State: raftpb.State{Term: 9, Vote: 1, Commit: 2}, EntriesToSave: entries(9, 1, 30),
	}}, 1))
	must(t, l.ImportSnapshot(raftpb.Snapshot{ShardID: of.ShardID, Index: 20, Term: 7}, of.ReplicaID))
	check(t, l, of, &expected{state: raftpb.State{Term: 7, Commit: 20}, snapshot: 20})
	if b, err := l.GetBootstrapInfo(of.ShardID, of.ReplicaID); err != nil || !b.Join {
		t.Errorf("bootstrap %+v, %v", b, err)
	}
}

// Reads end at their limit, with at least one entry.
func TestIterateWithinBounds(t *testing.T) {
	l := openIn(t, vfs.NewMem())
	defer l.Close()
	all := entries(1, 1, 10)
	must(t, l.SaveRaftState([]raftpb.Update{{ShardID: 1, ReplicaID: 1, State: raftpb.State{Term: 1}, EntriesToSave: all}}, 1))
	one := uint64(all[0].SizeUpperLimit())
	for _, s := range []struct {
		low, high, limit uint64
		want             int
	}{
		{1, 11, noLimit, 10}, {3, 5, noLimit, 2}, {9, 100, noLimit, 2}, {11, 12, noLimit, 0},
		{1, 11, 0, 1}, {1, 11, one, 2}, {1, 11, 3*one - 1, 3}, {4, 5, 0, 1},
	} {
		got, size, err := l.IterateEntries(nil, 0, 1, 1, s.low, s.high, s.limit)
		if err != nil || len(got) != s.want || len(got) > 0 && got[0].Index != s.low || size == 0 != (s.want == 0) {
			t.Errorf("%+v: %d entries, size %d, %v", s, len(got), size, err)
		}
	}
}

// A log with a hole is refused, not handed to Raft.
func TestHoleIsRefused(t *testing.T) {
	l := openIn(t, vfs.NewMem())
	defer l.Close()
	must(t, l.SaveRaftState([]raftpb.Update{{ShardID: 1, ReplicaID: 1, State: raftpb.State{Term: 1}, EntriesToSave: entries(1, 1, 10)}}, 1))
	must(t, l.RemoveEntriesTo(1, 1, 5))
	if state, err := l.ReadRaftState(1, 1, 2); err == nil {
		t.Errorf("got %+v", state)
	}
}
