package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/storage/paced"
)

// fullDisk refuses, while it is on, to write to tables or make new ones, as a file system without
// space does. It counts how often it was asked.
type fullDisk struct {
	on    atomic.Bool
	tries atomic.Int64
}

func (d *fullDisk) wrap(fs vfs.FS) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !d.on.Load() || !strings.HasSuffix(op.Path, ".sst") {
			return nil
		}
		switch op.Kind {
		case errorfs.OpCreate:
			d.tries.Add(1)
			return syscall.ENOSPC
		case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpLink:
			return syscall.ENOSPC
		}
		return nil
	}))
}

// TestFullDisk runs out of space for a minute of fake time: Sync says so, the engine says so, reads and
// commits go on, the disk is not hammered, a crash leaves a state that was synced, and when there is
// space again all is as if nothing had been.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk fullDisk
		mem := vfs.NewCrashableMem()
		e := testEngine(t, disk.wrap(mem), EngineOptions{})
		db := namespaceDB(t, e, 1)
		must(t, crashCommit(db, 1))
		must(t, e.Sync())
		synced := dump(t, db)
		must(t, crashCommit(db, 2))

		disk.on.Store(true)
		if err := e.Sync(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("sync on a full disk: %v", err)
		}
		for n := 3; n < 10; n++ {
			must(t, crashCommit(db, n))
		}
		want := dump(t, db)
		if reason := e.Stalled(); !strings.Contains(reason, "flush fails") {
			t.Errorf("stalled: %q", reason)
		}
		if got := stalledMetric(t, e); got != 1 {
			t.Errorf("metric is %v", got)
		}
		if _, err := db.writeStream(t); err != nil {
			t.Errorf("a snapshot on a full disk: %v", err)
		}
		before := disk.tries.Load()
		time.Sleep(time.Minute)
		if tries := disk.tries.Load() - before; tries < 10 || tries > 200 {
			t.Errorf("%d tries in a minute", tries)
		}
		crashed := testEngine(t, mem.CrashClone(vfs.CrashCloneCfg{}), EngineOptions{})
		if dump(t, namespaceDB(t, crashed, 1)) != synced {
			t.Error("a crash on a full disk lost what was synced")
		}
		must(t, crashed.Close())

		disk.on.Store(false)
		time.Sleep(2 * paced.DelayMax)
		must(t, e.Sync())
		if reason := e.Stalled(); reason != "" {
			t.Errorf("stalled with space: %q", reason)
		}
		if got := stalledMetric(t, e); got != 0 {
			t.Errorf("metric is %v", got)
		}
		if dump(t, db) != want {
			t.Error("contents changed")
		}
		crashed = testEngine(t, mem.CrashClone(vfs.CrashCloneCfg{}), EngineOptions{})
		if dump(t, namespaceDB(t, crashed, 1)) != want {
			t.Error("a crash after the recovery lost what was synced")
		}
		must(t, crashed.Close())
		must(t, e.Close())
	})
}

// writeStream streams the database and forgets the bytes.
func (db *DB) writeStream(t *testing.T) (n int64, err error) {
	t.Helper()
	var out discard
	must(t, db.View(func(tx *Tx) error {
		n, err = tx.WriteTo(&out)
		return nil
	}))
	return n, err
}

func stalledMetric(t *testing.T, e *Engine) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	must(t, registry.Register(e.Metrics()))
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "skerry_kv_stalled" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no such metric")
	return 0
}

// TestFullDiskRestore restores while there is no space: an error, and nothing changed.
func TestFullDiskRestore(t *testing.T) {
	var disk fullDisk
	e := testEngine(t, disk.wrap(vfs.NewMem()), EngineOptions{})
	fill(t, namespaceDB(t, e, 1), "b", 1000, 100)
	stream := streamOf(t, namespaceDB(t, e, 1))
	db := namespaceDB(t, e, 2)
	must(t, crashCommit(db, 9))
	must(t, e.Sync())
	want := dump(t, db)
	disk.on.Store(true)
	if err := db.Restore(bytes.NewReader(stream)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("restore on a full disk: %v", err)
	}
	if dump(t, db) != want {
		t.Error("a failed restore changed the contents")
	}
	disk.on.Store(false)
	must(t, db.Restore(bytes.NewReader(stream)))
	if dump(t, db) != dump(t, namespaceDB(t, e, 1)) {
		t.Error("not what was restored")
	}
}

// TestWriteStallShows lets memory fill while nothing can be written out: the commit waits, the engine
// says so, and both end when there is space.
func TestWriteStallShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var disk fullDisk
		e := testEngine(t, disk.wrap(vfs.NewMem()), EngineOptions{MemTableBytes: minMemTableBytes})
		db := namespaceDB(t, e, 1)
		disk.on.Store(true)
		const commits = 100
		done := make(chan int, commits)
		go func() {
			defer close(done)
			for n := range commits {
				fill(t, db, "b", 10+n, 1000)
				done <- n
			}
		}()
		time.Sleep(time.Minute)
		if len(done) == commits || e.events.stalls.Load() == 0 {
			t.Fatalf("%d commits without space, %d stalls", len(done), e.events.stalls.Load())
		}
		if e.Stalled() == "" {
			t.Error("not stalled")
		}
		disk.on.Store(false)
		last := -1
		for n := range done {
			last = n
		}
		if last != commits-1 {
			t.Errorf("ended at commit %d", last)
		}
		must(t, e.Sync())
		if reason := e.Stalled(); reason != "" {
			t.Errorf("stalled with space: %q", reason)
		}
		must(t, e.Close())
	})
}

// TestSlowDiskShows hangs a file operation until the engine reports it.
func TestSlowDiskShows(t *testing.T) {
	if testing.Short() {
		t.Skip("the watch looks every two seconds")
	}
	release := make(chan struct{})
	var hang atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") && hang.CompareAndSwap(true, false) {
			<-release
		}
		return nil
	}))
	e := testEngine(t, fs, EngineOptions{slowDiskAfter: 10 * time.Millisecond})
	must(t, crashCommit(namespaceDB(t, e, 1), 1))
	hang.Store(true)
	synced := make(chan error)
	go func() { synced <- e.Sync() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for e.Stalled() == "" {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("a hanging disk was not reported")
		}
	}
	if !strings.Contains(e.Stalled(), "disk is slow") {
		t.Errorf("stalled: %q", e.Stalled())
	}
	close(release)
	must(t, <-synced)
}

// TestHealth walks through what can keep writes from getting on, in fake time.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		expect := func(want string, delay time.Duration) {
			t.Helper()
			if got := h.reason(); !strings.HasPrefix(got, want) || (want == "") != (got == "") {
				t.Errorf("reason %q, want %q", got, want)
			}
			if got := h.pace.Delay(); got != delay {
				t.Errorf("delay %s, want %s", got, delay)
			}
		}
		expect("", 0)
		h.diskSlow("create")
		expect("disk is slow: create", 0)
		time.Sleep(slowDiskMemory)
		expect("", 0)
		h.stalled("memory")
		expect("writes stopped: memory", 0)
		broken := errors.New("broken")
		h.failed(&h.compaction, broken)
		expect("compaction fails: broken", paced.DelayMin)
		h.failed(&h.flush, broken)
		expect("flush fails: broken", 2*paced.DelayMin)
		for range 100 {
			h.failed(&h.flush, broken)
		}
		expect("flush fails", paced.DelayMax)
		h.succeeded(&h.flush)
		expect("compaction fails", 0)
		h.succeeded(&h.compaction)
		h.stalled("")
		expect("", 0)
	})
}

// TestReadErrors lets one read in fifty fail: each answer is an error, as a panic, or right.
func TestReadErrors(t *testing.T) {
	broken := errors.New("cannot read")
	var on atomic.Bool
	var count atomic.Uint64
	mem := vfs.NewMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && count.Add(1)%50 == 0 {
			return broken
		}
		return nil
	}))
	e := testEngine(t, fs, EngineOptions{CacheBytes: 1, MemTableBytes: minMemTableBytes}) // next to no cache: every read is one of the disk
	db := namespaceDB(t, e, 1)
	const rows = 5000
	update(t, db, func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		must(t, err)
		for i := range rows {
			must(t, b.Put(fmt.Appendf(nil, "%06d", i), fmt.Appendf(nil, "%0200d", i)))
		}
		return nil
	})
	must(t, e.Sync())
	on.Store(true)
	failed, right := 0, 0
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		err := viewCatching(db, func(tx *Tx) error {
			b := tx.Bucket([]byte("b"))
			if b == nil {
				return errors.New("no bucket")
			}
			c := b.Cursor()
			for range 5 {
				i := rng.IntN(rows - 1)
				if got := b.Get(fmt.Appendf(nil, "%06d", i)); string(got) != fmt.Sprintf("%0200d", i) {
					return fmt.Errorf("row %d is %q", i, got)
				}
				c.Seek(fmt.Appendf(nil, "%06d", i))
				if k, v := c.Next(); string(k) != fmt.Sprintf("%06d", i+1) || string(v) != fmt.Sprintf("%0200d", i+1) {
					return fmt.Errorf("row after %d is %q, %q", i, k, v)
				}
			}
			return nil
		})
		switch {
		case errors.Is(err, broken):
			failed++
		case err != nil:
			t.Fatal(err)
		default:
			right++
		}
	}
	if failed == 0 || right == 0 {
		t.Errorf("%d reads failed, %d did not", failed, right)
	}
	on.Store(false)
	dump(t, db)
	if open := db.Stats().OpenTxN; open != 0 {
		t.Errorf("%d transactions left open", open)
	}
}

// viewCatching is View that returns the error of a read that panicked.
func viewCatching(db *DB, fn func(*Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if err, _ = p.(error); !errors.Is(err, ErrRead) {
				panic(p)
			}
		}
	}()
	return db.View(fn)
}

// TestReclaim drops a bucket and a namespace, each of some megabytes, and lets fake time pass: the
// space comes back without a stop, a Sync or another write.
func TestReclaim(t *testing.T) {
	for name, drop := range map[string]func(e *Engine, db *DB) error{
		"bucket": func(_ *Engine, db *DB) error {
			return db.Update(func(tx *Tx) error { return tx.DeleteBucket([]byte("big")) })
		},
		"namespace": func(e *Engine, _ *DB) error { return e.Drop(1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := testEngine(t, vfs.NewMem(), EngineOptions{MemTableBytes: 1 << 20})
				db := namespaceDB(t, e, 1)
				rng := rand.New(rand.NewPCG(5, 6))
				noise := make([]byte, 1000)
				for from := 0; from < 8000; from += 1000 {
					update(t, db, func(tx *Tx) error {
						b, err := tx.CreateBucketIfNotExists([]byte("big"))
						must(t, err)
						for i := range 1000 {
							for j := range noise {
								noise[j] = byte(rng.Uint32())
							}
							must(t, b.Put(fmt.Appendf(nil, "%06d", from+i), noise))
						}
						return nil
					})
				}
				fill(t, namespaceDB(t, e, 2), "other", 10, 10)
				must(t, e.Sync())
				time.Sleep(time.Minute)
				full := e.pebble.Metrics().DiskSpaceUsage()
				must(t, drop(e, db))
				time.Sleep(time.Minute)
				if left := e.pebble.Metrics().DiskSpaceUsage(); full < 7<<20 || left > full/8 {
					t.Errorf("%d bytes left of %d", left, full)
				}
				if stats := dump(t, namespaceDB(t, e, 2)); !strings.Contains(stats, "other") {
					t.Error("the neighbour is gone")
				}
				must(t, e.Close())
			})
		})
	}
}
