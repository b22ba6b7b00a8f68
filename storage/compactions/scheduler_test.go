package compactions

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// store counts what it is offered. Like Pebble's it asks under its lock, keeps what is
// refused, and calls nobody back while it holds the lock.
type store struct {
	scheduler *Scheduler
	allowed   atomic.Int64
	answered  func() // called when the store has looked what waits, before it answers

	mu      sync.Mutex
	waiting int
	running int
	most    int
}

func newStore(allowed int64) *store {
	s := &store{scheduler: New(0), answered: func() {}}
	s.allowed.Store(allowed)
	s.scheduler.Register(2, s)
	return s
}

func (s *store) GetAllowedWithoutPermission() int { return int(s.allowed.Load()) }

func (s *store) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	s.mu.Lock()
	waits := s.waiting > 0
	s.mu.Unlock()
	s.answered()
	return waits, pebble.WaitingCompaction{}
}

func (s *store) Schedule(pebble.CompactionGrantHandle) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == 0 {
		return false
	}
	s.waiting--
	s.start()
	return true
}

func (s *store) start() {
	s.running++
	s.most = max(s.most, s.running)
}

// ask wants n more compactions.
func (s *store) ask(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		if s.waiting > 0 {
			s.waiting++
		} else if granted, _ := s.scheduler.TrySchedule(); granted {
			s.start()
		} else {
			s.waiting++
		}
	}
}

// end ends one compaction.
func (s *store) end() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.scheduler.Done()
}

func (s *store) is(t *testing.T, running, waiting int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != running || s.waiting != waiting {
		t.Fatalf("%d run and %d wait, not %d and %d", s.running, s.waiting, running, waiting)
	}
}

func TestAsManyAsAllowed(t *testing.T) {
	s := newStore(2)
	s.ask(5)
	s.is(t, 2, 3)
	s.end()
	s.is(t, 2, 2)
	s.end()
	s.is(t, 2, 1)
	s.end()
	s.end()
	s.is(t, 1, 0)
	s.ask(1)
	s.is(t, 2, 0)
	if s.most > 2 {
		t.Fatalf("%d ran at once", s.most)
	}
}

func TestMoreBecomeAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(1)
		s.ask(5)
		s.is(t, 1, 4)
		s.allowed.Store(3) // nobody tells: it is seen while compactions run
		<-time.After(lookEvery)
		synctest.Wait()
		s.is(t, 3, 2)
		s.allowed.Store(4)
		s.mu.Lock() // as Pebble does
		s.scheduler.UpdateGetAllowedWithoutPermission()
		s.mu.Unlock()
		<-time.After(lookEvery / 2) // sooner than it looks by itself
		synctest.Wait()
		s.is(t, 4, 1)
		s.allowed.Store(5) // it goes on to look
		<-time.After(lookEvery)
		synctest.Wait()
		s.is(t, 5, 0)
	})
}

func TestFewerBecomeAllowed(t *testing.T) {
	s := newStore(3)
	s.ask(5)
	s.allowed.Store(1)
	s.end()
	s.end()
	s.is(t, 1, 2)
	s.end()
	s.is(t, 1, 1)
}

// What is refused because of an offer that is then not taken is granted at once.
func TestRefusedDuringAnOffer(t *testing.T) {
	s := newStore(1)
	s.ask(1)
	var once sync.Once
	s.answered = func() { once.Do(func() { s.ask(1) }) }
	s.end()
	s.is(t, 1, 0)
}

// A store at rest sets no timer.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no timer fires unseen
		s := newStore(2)
		if s.scheduler.look.Stop() {
			t.Fatal("a timer is set before anything was compacted")
		}
		s.ask(3)
		if !s.scheduler.look.Stop() {
			t.Fatal("nothing looks while compactions run")
		}
		s.scheduler.look.Reset(lookEvery)
		for range 3 {
			s.end()
		}
		s.is(t, 0, 0)
		if s.scheduler.look.Stop() {
			t.Fatal("a timer is set though nothing is compacted")
		}
	})
}

func TestNothingIsGrantedAfterTheEnd(t *testing.T) {
	s := newStore(1)
	s.ask(2)
	s.scheduler.Unregister()
	s.end()
	s.is(t, 0, 1)
	s.ask(1)
	s.is(t, 0, 2)
	if s.scheduler.look.Stop() {
		t.Fatal("a timer is set after the end")
	}
}

// Many ask and end at once: never more run than are allowed, and all run.
func TestMany(t *testing.T) {
	s := newStore(3)
	const callers, each = 8, 500
	var ended atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				s.ask(1)
				for {
					s.mu.Lock()
					some := s.running > 0
					if some {
						s.running--
					}
					s.mu.Unlock()
					if some {
						s.scheduler.Done()
						ended.Add(1)
						break
					}
				}
			}
		})
	}
	group.Wait()
	s.is(t, 0, 0)
	if ended.Load() != callers*each || s.most > 3 {
		t.Fatalf("%d ended, %d at once", ended.Load(), s.most)
	}
}

// Pebble compacts what it should, no more at once than it allows, and closes.
func TestPebble(t *testing.T) {
	var mu sync.Mutex
	running, most := map[int]bool{}, 0
	scheduler := New(0)
	options := &pebble.Options{
		FS:                          vfs.NewMem(),
		MemTableSize:                64 << 10,
		L0CompactionThreshold:       2,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		MemTableStopWritesThreshold: 4,
		EventListener: &pebble.EventListener{
			CompactionBegin: func(i pebble.CompactionInfo) {
				mu.Lock()
				defer mu.Unlock()
				running[i.JobID] = true
				most = max(most, len(running))
			},
			CompactionEnd: func(i pebble.CompactionInfo) {
				mu.Lock()
				defer mu.Unlock()
				delete(running, i.JobID)
			},
		},
	}
	options.Experimental.CompactionScheduler = scheduler
	db, err := pebble.Open("", options)
	if err != nil {
		t.Fatal(err)
	}
	// Some eighty tables: the store takes no more than a few before it must compact.
	value := make([]byte, 1000)
	for i := range 5_000 {
		if err := db.Set(fmt.Appendf(nil, "%08d", i*7919%5_000), value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Compact(t.Context(), []byte("0"), []byte("9"), true); err != nil {
		t.Fatal(err)
	}
	if m := db.Metrics(); m.Levels[0].TablesCount > 0 {
		t.Fatalf("not compacted:\n%s", m)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if scheduler.look.Stop() {
		t.Fatal("a timer is set after the end")
	}
	mu.Lock()
	defer mu.Unlock()
	if most == 0 || most > 2 {
		t.Fatalf("%d compactions at once", most)
	}
}

// A store that was just opened compacts nothing for a while, whoever asks.
func TestNothingAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{scheduler: New(time.Second), answered: func() {}}
		s.allowed.Store(2)
		s.scheduler.Register(2, s)
		s.ask(3)
		s.mu.Lock()
		s.scheduler.UpdateGetAllowedWithoutPermission()
		s.mu.Unlock()
		<-time.After(time.Second - 1)
		synctest.Wait()
		s.is(t, 0, 3)
		<-time.After(1)
		synctest.Wait()
		s.is(t, 2, 1)
		s.end()
		s.is(t, 2, 0)
	})
}

// A store that is closed meanwhile is not called any more.
func TestClosedAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{scheduler: New(time.Second), answered: func() { t.Error("asked after the end") }}
		s.allowed.Store(1)
		s.scheduler.Register(2, s)
		s.ask(1)
		s.scheduler.Unregister()
		<-time.After(2 * time.Second)
		synctest.Wait()
		s.is(t, 0, 1)
	})
}
