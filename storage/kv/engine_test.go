package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

func TestEngineRefusesNewerFormat(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenEngine(dir, EngineOptions{})
	must(t, err)
	must(t, e.Close())
	must(t, os.WriteFile(filepath.Join(dir, fileFormat), []byte("skerry-kv 2\n"), 0o600))
	if _, err = OpenEngine(dir, EngineOptions{}); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("error %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, fileFormat), []byte("skerry-kv 1\n"), 0o600))
	e, err = OpenEngine(dir, EngineOptions{})
	must(t, err)
	must(t, e.Close())
}

func TestEngineRefusesForeignDirectory(t *testing.T) {
	for name, mode := range map[string]bool{"writing": false, "read-only": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "letter"), []byte("dear"), 0o600))
			if _, err := OpenEngine(dir, EngineOptions{ReadOnly: mode}); !errors.Is(err, ErrForeignDirectory) {
				t.Errorf("error %v", err)
			}
			if _, err := Open(dir, 0o600, nil); err != ErrInvalid {
				t.Errorf("Open: error %v", err)
			}
			entries, err := os.ReadDir(dir)
			must(t, err)
			if len(entries) != 1 {
				t.Errorf("the directory was touched: %v", entries)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	if _, err := OpenEngine(file, EngineOptions{}); !errors.Is(err, ErrForeignDirectory) {
		t.Errorf("error for a file: %v", err)
	}
	if _, err := Open(file, 0o600, nil); err != ErrInvalid {
		t.Errorf("Open of a file: error %v", err)
	}
}

// TestEngineFinishesSetup opens a directory left by a crash before the marker was in place.
func TestEngineFinishesSetup(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, fileLock), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, fileFormatNew), []byte("sk"), 0o600))
	e, err := OpenEngine(dir, EngineOptions{})
	must(t, err)
	must(t, e.Close())
}

func TestEngineInUse(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenEngine(dir, EngineOptions{})
	must(t, err)
	if _, err := OpenEngine(dir, EngineOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("second engine: error %v", err)
	}
	if _, err := Open(dir, 0o600, &Options{Timeout: time.Millisecond}); err != ErrTimeout {
		t.Errorf("Open with a timeout: error %v", err)
	}
	must(t, e.Close())
	must(t, e.Close())
	e, err = OpenEngine(dir, EngineOptions{})
	must(t, err)
	must(t, e.Close())
}

func TestEngineReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := OpenEngine(dir, EngineOptions{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: error %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a read-only opening made the directory")
	}
	e, err := OpenEngine(dir, EngineOptions{})
	must(t, err)
	plant(t, namespaceDB(t, e, 1))
	want := dump(t, namespaceDB(t, e, 1))
	must(t, e.Close())

	e, err = OpenEngine(dir, EngineOptions{ReadOnly: true})
	must(t, err)
	defer e.Close()
	db := namespaceDB(t, e, 1)
	if dump(t, db) != want {
		t.Error("contents differ")
	}
	never := func(*Tx) error { t.Error("called"); return nil }
	_, begin := db.Begin(true)
	for name, err := range map[string]error{
		"Update": db.Update(never), "Batch": db.Batch(never), "Begin": begin,
		"Drop": e.Drop(1), "Restore": db.Restore(nil),
	} {
		if err != ErrDatabaseReadOnly {
			t.Errorf("%s: error %v", name, err)
		}
	}
	must(t, e.Sync())
}

func TestEngineOptionsValidate(t *testing.T) {
	must(t, EngineOptions{}.Validate())
	err := EngineOptions{Durability: 9, CacheBytes: -1, MemTableBytes: 1, MaxOpenFiles: 1}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 4 {
		t.Errorf("faults %v, want 4", err)
	}
	if _, err := OpenEngine(t.TempDir(), EngineOptions{Durability: 9}); err == nil {
		t.Error("opened with faulty options")
	}
}

func TestNamespacesAreApart(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	ids := []uint64{0, 1, 255, 256, 1 << 32, math.MaxUint64 - 1, math.MaxUint64}
	for i, id := range ids {
		fill(t, namespaceDB(t, e, id), "b", i+1, 3)
	}
	namespaceDB(t, e, 77) // opened, never written
	got, err := e.Namespaces()
	must(t, err)
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Errorf("namespaces %v, want %v", got, ids)
	}
	must(t, e.Drop(math.MaxUint64))
	must(t, e.Drop(0))
	for i, id := range ids[1 : len(ids)-1] {
		must(t, namespaceDB(t, e, id).View(func(tx *Tx) error {
			if n := tx.Bucket([]byte("b")).Stats().KeyN; n != i+2 {
				t.Errorf("namespace %d has %d keys, want %d", id, n, i+2)
			}
			return nil
		}))
	}
	if a, b := namespaceDB(t, e, 1), namespaceDB(t, e, 1); a != b {
		t.Error("two handles for one namespace")
	}
}

// TestWritersOfNamespacesAreApart has a writer open in each of two namespaces, and a closed handle
// followed by another on the same writer lock.
func TestWritersOfNamespacesAreApart(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	one, err := namespaceDB(t, e, 1).Begin(true)
	must(t, err)
	two, err := namespaceDB(t, e, 2).Begin(true)
	must(t, err)
	must(t, one.Commit())
	must(t, two.Commit())
	db := namespaceDB(t, e, 1)
	must(t, db.Close())
	must(t, db.Close())
	if _, err := db.Begin(false); err != ErrDatabaseNotOpen {
		t.Errorf("begin on a closed handle: %v", err)
	}
	if namespaceDB(t, e, 1) == db {
		t.Error("closed handle given out again")
	}
}

func TestEngineCloseWaitsForTransactions(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	db := namespaceDB(t, e, 1)
	tx, err := db.Begin(false)
	must(t, err)
	closed := make(chan error)
	go func() { closed <- e.Close() }()
	for db.gate.isOpen() {
		select {
		case <-closed:
			t.Fatal("closed under an open transaction")
		default:
		}
	}
	select {
	case <-closed:
		t.Fatal("closed under an open transaction")
	default:
	}
	tx.Cursor().First() // the store is still there
	must(t, tx.Rollback())
	must(t, <-closed)
	_, err = e.DB(1)
	for name, err := range map[string]error{"DB": err, "Sync": e.Sync(), "Drop": e.Drop(1), "Update": db.Update(nil)} {
		if err != ErrDatabaseNotOpen {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

// TestSyncCoalesces has many call while a flush runs: they share the next one.
func TestSyncCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		flushes := 0
		s := newSyncer(func() error {
			flushes++
			n := flushes
			<-proceed
			return fmt.Errorf("flush %d", n)
		})
		first := make(chan error, 1)
		go func() { first <- s.sync() }()
		synctest.Wait()
		const waiting = 20
		results := make(chan error, waiting)
		for range waiting {
			go func() { results <- s.sync() }()
		}
		synctest.Wait()
		proceed <- struct{}{}
		if err := <-first; err.Error() != "flush 1" {
			t.Errorf("first got %v", err)
		}
		proceed <- struct{}{}
		for range waiting {
			if err := <-results; err.Error() != "flush 2" {
				t.Errorf("a waiting caller got %v", err)
			}
		}
		if flushes != 2 {
			t.Errorf("%d flushes, want 2", flushes)
		}
	})
}

func TestMetrics(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	fill(t, namespaceDB(t, e, 1), "b", 100, 100)
	must(t, e.Sync())
	registry := prometheus.NewPedanticRegistry()
	must(t, registry.Register(e.Metrics()))
	families, err := registry.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	for _, name := range []string{"skerry_kv_disk_usage_bytes", "skerry_kv_flushes_total", "skerry_kv_tables"} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	must(t, e.Close())
	if families, err := registry.Gather(); err != nil || len(families) != 0 {
		t.Errorf("after close %d families, %v", len(families), err)
	}
}
