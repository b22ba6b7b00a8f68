package kv

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// plant writes a small tree: nested buckets, odd names, sequences, an empty value.
func plant(t testing.TB, db *DB) {
	t.Helper()
	update(t, db, func(tx *Tx) error {
		a, err := tx.CreateBucket([]byte("a\x00"))
		must(t, err)
		must(t, a.Put([]byte("k"), []byte("v")))
		must(t, a.Put([]byte("\x00"), nil))
		must(t, a.SetSequence(300))
		inner, err := a.CreateBucket([]byte("k\x00in"))
		must(t, err)
		must(t, inner.Put([]byte("deep"), []byte{0, 1, 2}))
		_, err = tx.CreateBucket([]byte("empty"))
		return err
	})
}

func streamOf(t testing.TB, db *DB) []byte {
	t.Helper()
	var buf bytes.Buffer
	must(t, db.View(func(tx *Tx) error {
		n, err := tx.WriteTo(&buf)
		if n != int64(buf.Len()) {
			t.Errorf("WriteTo returned %d, wrote %d", n, buf.Len())
		}
		return err
	}))
	return buf.Bytes()
}

func TestRestoreRoundTrip(t *testing.T) {
	for _, mode := range []Durability{NoWAL, WALNoSync, WALSync} {
		for _, dirty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s dirty %t", mode, dirty), func(t *testing.T) {
				fs := vfs.NewCrashableMem()
				e := testEngine(t, fs, EngineOptions{Durability: mode})
				src, dst, other := namespaceDB(t, e, 1), namespaceDB(t, e, 2), namespaceDB(t, e, 3)
				plant(t, src)
				fill(t, src, "big", 3000, 100)
				plant(t, other)
				if dirty {
					fill(t, dst, "old", 1000, 100)
					plant(t, dst)
				}
				before := dump(t, dst)
				reader, err := dst.Begin(false)
				must(t, err)

				must(t, dst.Restore(bytes.NewReader(streamOf(t, src))))

				want := dump(t, src)
				if dump(t, dst) != want {
					t.Error("restored database differs from its source")
				}
				if dumpOurs(reader) != before {
					t.Error("an open reader saw the restore")
				}
				must(t, reader.Rollback())
				if dump(t, other) == "" {
					t.Error("another namespace lost its contents")
				}
				if overBolt {
					return // whose files are not on the file system that crashes
				}
				crashed := testEngine(t, fs.CrashClone(vfs.CrashCloneCfg{}), EngineOptions{Durability: mode})
				if dump(t, namespaceDB(t, crashed, 2)) != want {
					t.Error("the restore did not survive a crash")
				}
				update(t, dst, func(tx *Tx) error { return tx.DeleteBucket([]byte("big")) })
			})
		}
	}
}

func TestRestoreKeepsIDsRising(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	src, dst := namespaceDB(t, e, 1), namespaceDB(t, e, 2)
	plant(t, src) // 2
	for range 5 {
		update(t, dst, func(*Tx) error { return nil }) // to 6
	}
	must(t, dst.Restore(bytes.NewReader(streamOf(t, src))))
	must(t, dst.View(func(tx *Tx) error {
		if tx.ID() != 7 {
			t.Errorf("ID %d after restore, want 7", tx.ID())
		}
		return nil
	}))
	update(t, dst, func(tx *Tx) error {
		if tx.ID() != 8 {
			t.Errorf("writer's ID %d, want 8", tx.ID())
		}
		return nil
	})
	var twin = namespaceDB(t, e, 3)
	must(t, twin.Restore(bytes.NewReader(streamOf(t, dst))))
	must(t, twin.View(func(tx *Tx) error {
		if tx.ID() != 8 {
			t.Errorf("ID %d in the twin, want the stream's 8", tx.ID())
		}
		return nil
	}))
}

// TestRestoreRefusesDamage damages each byte of a small stream, and cuts it at each length.
func TestRestoreRefusesDamage(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	src, dst := namespaceDB(t, e, 1), namespaceDB(t, e, 2)
	plant(t, src)
	stream := streamOf(t, src)
	fill(t, dst, "kept", 3, 3)
	want := dump(t, dst)
	refused := func(what string, damaged []byte) {
		t.Helper()
		err := dst.Restore(bytes.NewReader(damaged))
		if !errors.Is(err, ErrCorruptStream) && !errors.Is(err, ErrNewerFormat) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	for i := range stream {
		refused(fmt.Sprintf("cut at %d", i), stream[:i])
		for _, bits := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(stream)
			damaged[i] ^= bits
			refused(fmt.Sprintf("byte %d changed by %#x", i, bits), damaged)
		}
	}
	refused("one byte more", append(bytes.Clone(stream), 0))
	if dump(t, dst) != want {
		t.Error("a refused stream changed the database")
	}
	if names, err := e.dir.fs.List(e.dir.join(dirScratch)); err != nil || len(names) > 0 {
		t.Errorf("scratch holds %v, %v", names, err)
	}
}

func TestRestorePassesReadErrors(t *testing.T) {
	db := testDB(t)
	plant(t, db)
	stream := streamOf(t, db)
	broken := errors.New("network gone")
	for _, n := range []int{0, 5, len(stream) - 1, len(stream)} {
		r := &failingReader{data: stream[:n], err: broken}
		if err := db.Restore(r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
	}
}

type failingReader struct {
	data []byte
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// TestRestoreAmongWriters restores one namespace while others commit, and takes streams meanwhile.
func TestRestoreAmongWriters(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{MemTableBytes: 256 << 10})
	src := namespaceDB(t, e, 100)
	fill(t, src, "data", 2000, 100)
	want := dump(t, src)
	stream := streamOf(t, src)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for id := range uint64(3) {
		db := namespaceDB(t, e, id)
		wg.Go(func() {
			for n := uint64(1); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := db.Update(func(tx *Tx) error {
					b, err := tx.CreateBucketIfNotExists([]byte("n"))
					if err != nil {
						return err
					}
					if err := b.Put(fmt.Appendf(nil, "%d", n%50), make([]byte, 500)); err != nil {
						return err
					}
					got, err := b.NextSequence()
					if got != n {
						return fmt.Errorf("namespace %d: sequence %d in commit %d", id, got, n)
					}
					return err
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	dst := namespaceDB(t, e, 50)
	for range 10 {
		fill(t, dst, "dirt", 50, 50)
		must(t, dst.Restore(bytes.NewReader(stream)))
		if dump(t, dst) != want {
			t.Error("restored database differs")
			break
		}
	}
	close(stop)
	wg.Wait()
}

func TestRestoreManyTables(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	src, dst := namespaceDB(t, e, 1), namespaceDB(t, e, 2)
	fill(t, src, "data", 300, 100)
	fill(t, dst, "dirt", 300, 100)
	stream, err := newStreamReader(bytes.NewReader(streamOf(t, src)))
	must(t, err)
	built := e.newTables(2, true)
	defer built.discard()
	built.limit = 4 << 10
	must(t, stream.fill(2, 9, built.add))
	must(t, built.finish())
	if len(built.paths) < 3 {
		t.Fatalf("only %d tables", len(built.paths))
	}
	must(t, e.pebble.Ingest(t.Context(), built.paths))
	if dump(t, dst) != dump(t, src) {
		t.Error("contents differ")
	}
}

func TestRestoreToPath(t *testing.T) {
	db := testDB(t)
	plant(t, db)
	stream := streamOf(t, db)
	path := filepath.Join(t.TempDir(), "restored")
	if err := Restore(path, bytes.NewReader(stream[:len(stream)-1])); !errors.Is(err, ErrCorruptStream) {
		t.Errorf("short stream: error %v", err)
	}
	must(t, Restore(path, bytes.NewReader(stream)))
	if err := Restore(path, bytes.NewReader(stream)); err == nil {
		t.Error("restored over an existing database")
	}
	copied, err := Open(path, 0o600, nil)
	must(t, err)
	defer copied.Close()
	if dump(t, copied) != dump(t, db) {
		t.Error("contents differ")
	}
	second := filepath.Join(t.TempDir(), "copied")
	for range 2 { // the second time over the first
		must(t, copied.View(func(tx *Tx) error { return tx.CopyFile(second, 0o600) }))
	}
	db2, err := Open(second, 0o600, &Options{NoSync: true})
	must(t, err)
	defer db2.Close()
	if dump(t, db2) != dump(t, db) {
		t.Error("contents of the copy differ")
	}
}
