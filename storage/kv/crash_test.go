package kv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// crashCommit makes commit number n: some puts, a delete, and now and then a bucket dropped and
// made again, big enough for a range deletion.
func crashCommit(db *DB, n int) error {
	return db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("log"))
		if err != nil {
			return err
		}
		if err := b.Put(fmt.Appendf(nil, "%02d", n%20), fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 300))); err != nil {
			return err
		}
		if err := b.Delete(fmt.Appendf(nil, "%02d", (n+7)%20)); err != nil {
			return err
		}
		if err := b.SetSequence(uint64(n)); err != nil {
			return err
		}
		if n%9 != 0 {
			return nil
		}
		if err := tx.DeleteBucket([]byte("round")); err != nil && err != ErrBucketNotFound {
			return err
		}
		round, err := tx.CreateBucket([]byte("round"))
		if err != nil {
			return err
		}
		for i := range fewRows + n%7 {
			if err := round.Put(fmt.Appendf(nil, "%d", i), fmt.Appendf(nil, "%d", n)); err != nil {
				return err
			}
		}
		return nil
	})
}

// crashStates returns the dump after each commit, 0 first, made by a database that never crashes.
func crashStates(t *testing.T, commits int) []string {
	db := testDB(t)
	states := []string{dump(t, db)}
	for n := 1; n <= commits; n++ {
		must(t, crashCommit(db, n))
		states = append(states, dump(t, db))
	}
	return states
}

// TestCrashLeavesPrefix crashes at random moments, with random parts of what was not synced: each
// namespace must be at the state after some commit, not before the last one synced.
func TestCrashLeavesPrefix(t *testing.T) {
	const namespaces, commits = 3, 120
	states := crashStates(t, commits)
	for _, mode := range []Durability{NoWAL, WALNoSync, WALSync} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s seed %d", mode, seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, uint64(mode)))
				fs := vfs.NewCrashableMem()
				opts := EngineOptions{Durability: mode, MemTableBytes: minMemTableBytes}
				e := testEngine(t, fs, opts)
				var done, synced [namespaces]int
				for range namespaces * commits / 2 {
					ns := rng.IntN(namespaces)
					if done[ns] == commits {
						continue
					}
					done[ns]++
					must(t, crashCommit(namespaceDB(t, e, uint64(ns)), done[ns]))
					if mode == WALSync {
						synced[ns] = done[ns]
					}
					switch rng.IntN(30) {
					case 0:
						must(t, e.Sync())
						synced = done
					case 1, 2:
						clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
						crashed := testEngine(t, clone, opts)
						for id := range done {
							checkPrefix(t, namespaceDB(t, crashed, uint64(id)), states, synced[id], done[id])
						}
						must(t, crashed.Abandon())
					}
				}
			})
		}
	}
}

// checkPrefix checks that a database is at the state after a commit in [from, to].
func checkPrefix(t *testing.T, db *DB, states []string, from, to int) {
	t.Helper()
	tx, err := db.Begin(false)
	must(t, err)
	at := tx.ID() - firstTxID
	must(t, tx.Rollback())
	if at < from || at > to {
		t.Errorf("at commit %d, want %d to %d", at, from, to)
		return
	}
	if dump(t, db) != states[at] {
		t.Errorf("contents are not those after commit %d", at)
	}
}

func TestAbandonLosesWhatWasNotSynced(t *testing.T) {
	fs := vfs.NewMem()
	e := testEngine(t, fs, EngineOptions{})
	db := namespaceDB(t, e, 1)
	must(t, crashCommit(db, 1))
	must(t, e.Sync())
	want := dump(t, db)
	must(t, crashCommit(db, 2))
	must(t, e.Abandon())
	e = testEngine(t, fs, EngineOptions{})
	if dump(t, namespaceDB(t, e, 1)) != want {
		t.Error("not at the state that was synced")
	}
}

func TestCloseKeepsEverything(t *testing.T) {
	fs := vfs.NewCrashableMem()
	e := testEngine(t, fs, EngineOptions{})
	db := namespaceDB(t, e, 1)
	must(t, crashCommit(db, 1))
	want := dump(t, db)
	must(t, e.Close())
	e = testEngine(t, fs.CrashClone(vfs.CrashCloneCfg{}), EngineOptions{})
	if dump(t, namespaceDB(t, e, 1)) != want {
		t.Error("a clean stop lost a commit")
	}
}

// TestSyncReportsFailedFlush lets the disk fail for a while: Sync must say so, and succeed later.
func TestSyncReportsFailedFlush(t *testing.T) {
	broken := errors.New("disk broken")
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			return broken
		}
		return nil
	})}
	core, logs := observer.New(zapcore.WarnLevel)
	e := testEngine(t, errorfs.Wrap(vfs.NewMem(), toggle), EngineOptions{Logger: zap.New(core)})
	db := namespaceDB(t, e, 1)
	must(t, crashCommit(db, 1))
	toggle.On()
	if err := e.Sync(); !errors.Is(err, broken) {
		t.Errorf("sync on a broken disk: %v", err)
	}
	toggle.Off()
	// The engine tries again by itself, and the last failure may still be on its way to us.
	err := e.Sync()
	for tries := 0; err != nil && tries < 1000; tries++ {
		err = e.Sync()
	}
	must(t, err)
	if n := logs.Len(); n == 0 || n > 100 {
		t.Errorf("%d lines logged", n)
	}
}

func TestDropSurvivesCrash(t *testing.T) {
	for _, mode := range []Durability{NoWAL, WALNoSync, WALSync} {
		t.Run(mode.String(), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			e := testEngine(t, fs, EngineOptions{Durability: mode})
			db, kept := namespaceDB(t, e, 5), namespaceDB(t, e, 6)
			must(t, crashCommit(db, 9))
			must(t, crashCommit(kept, 9))
			want := dump(t, kept)
			must(t, e.Sync())
			must(t, e.Drop(5))
			crashed := testEngine(t, fs.CrashClone(vfs.CrashCloneCfg{}), EngineOptions{Durability: mode})
			ids, err := crashed.Namespaces()
			must(t, err)
			if fmt.Sprint(ids) != "[6]" {
				t.Errorf("namespaces %v, want [6]", ids)
			}
			if dump(t, namespaceDB(t, crashed, 6)) != want {
				t.Error("the neighbour changed")
			}
			update(t, db, func(tx *Tx) error {
				if tx.ID() != firstTxID+1 || tx.Bucket([]byte("log")) != nil {
					t.Errorf("dropped namespace at ID %d", tx.ID())
				}
				return nil
			})
		})
	}
}
