package shardgroup_test

import (
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	transferSeeds = flag.Uint64("transfers.seeds", 0, "seeds of TestTransfersSimulated; 0 for 200, or as many as 20 s allow")
	transferFirst = flag.Uint64("transfers.seed", 1, "the first of these seeds")
	transferSteps = flag.Int("transfers.steps", 150, "steps of each")
)

func newSimStore(t testing.TB) *simStore {
	t.Helper()
	engine, err := kv.OpenEngine("sim", kv.EngineOptions{FS: vfs.NewMem(), CacheBytes: 8 << 20, MemTableBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return &simStore{engine: engine, cache: statemachine.NewCache(4 << 20)}
}

// simulate runs a seed and returns what went wrong.
func simulate(t testing.TB, store *simStore, seed uint64, ablation string) (stats simStats, steps []string, err error) {
	var s *transferSim
	defer func() {
		if s != nil {
			stats, steps = s.stats, s.steps
		}
		if failure, ok := recover().(simFailure); ok {
			err = failure
		}
	}()
	s = newTransferSim(t.Context(), store, seed, ablation)
	for range *transferSteps {
		s.step()
	}
	s.settle()
	s.finish()
	return
}

// Whatever is lost, late, repeated, crashed or split: each query finds each datum
// once, and in the end all that was issued is accepted and finished.
func TestTransfersSimulated(t *testing.T) {
	var mu sync.Mutex
	var total simStats
	next, last, limited := *transferFirst, *transferFirst+*transferSeeds, *transferSeeds == 0
	if limited {
		last += 200
	}
	var workers sync.WaitGroup
	started, done := time.Now(), 0
	for range 2 {
		store := newSimStore(t)
		workers.Go(func() {
			for {
				mu.Lock()
				seed := next
				next++
				mu.Unlock()
				if seed >= last || t.Failed() || limited && time.Since(started) > 20*time.Second {
					return
				}
				stats, steps, err := simulate(t, store, seed, "")
				if err != nil {
					t.Errorf("seed %d: %v\n%s", seed, err, strings.Join(steps[max(0, len(steps)-40):], "\n"))
					return
				}
				mu.Lock()
				total.add(stats)
				done++
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	t.Logf("%d seeds in %v: %+v", done, time.Since(started).Round(time.Millisecond), total)
	for what, n := range map[string]int{
		"jobs": total.jobs, "batches": total.batches, "lost": total.lost, "late": total.late, "acks": total.acks, "routes": total.routes,
		"splits": total.splits, "reads": total.reads, "rereads": total.rereads, "leaders": total.leaders, "crashes": total.crashes,
	} {
		if n == 0 && done > 50 && !t.Failed() {
			t.Errorf("no %s: too little happened to tell anything", what)
		}
	}
}

func (s *simStats) add(o simStats) {
	s.jobs += o.jobs
	s.batches += o.batches
	s.lost += o.lost
	s.late += o.late
	s.acks += o.acks
	s.routes += o.routes
	s.splits += o.splits
	s.reads += o.reads
	s.rereads += o.rereads
	s.giveUps += o.giveUps
	s.leaders += o.leaders
	s.crashes += o.crashes
}

// Seeds that once failed, whatever for.
func TestTransfersRegressions(t *testing.T) {
	store := newSimStore(t)
	for _, seed := range []uint64{} {
		if _, steps, err := simulate(t, store, seed, ""); err != nil {
			t.Errorf("seed %d: %v\n%s", seed, err, strings.Join(steps, "\n"))
		}
	}
}

// Each rule is needed: without it some seed fails.
func TestTransfersNeedEachRule(t *testing.T) {
	for _, ablation := range []string{"no lower bound", "no upper bound", "hide nothing", "ack what was sent"} {
		t.Run(ablation, func(t *testing.T) {
			store := newSimStore(t)
			for seed := uint64(1); seed <= 200; seed++ {
				_, _, err := simulate(t, store, seed, ablation)
				if err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("nothing noticed")
		})
	}
}
