package kv

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testEngine opens an engine that closes with the test.
func testEngine(t testing.TB, fs vfs.FS, opts EngineOptions) *Engine {
	t.Helper()
	opts.FS = fs
	if opts.CacheBytes == 0 {
		opts.CacheBytes = 1 << 20
	}
	e, err := openTestEngine("store", t.TempDir, opts)
	must(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func testDB(t testing.TB) *DB {
	t.Helper()
	return namespaceDB(t, testEngine(t, vfs.NewMem(), EngineOptions{}), 1)
}

func namespaceDB(t testing.TB, e *Engine, id uint64) *DB {
	t.Helper()
	db, err := e.DB(id)
	must(t, err)
	return db
}

// update runs fn and fails the test if it does not commit.
func update(t testing.TB, db *DB, fn func(tx *Tx) error) {
	t.Helper()
	must(t, db.Update(fn))
}

// fill puts n keys of size bytes into the bucket name.
func fill(t testing.TB, db *DB, name string, n, size int) {
	t.Helper()
	update(t, db, func(tx *Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		for i := range n {
			if err := b.Put(fmt.Appendf(nil, "key-%06d", i), bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				return err
			}
		}
		return b.SetSequence(uint64(n))
	})
}

// dump returns a database's contents and checks its rows on the way.
func dump(t testing.TB, db *DB) (contents string) {
	t.Helper()
	must(t, db.View(func(tx *Tx) error {
		contents = dumpOurs(tx)
		for err := range tx.Check() {
			return err
		}
		return nil
	}))
	return contents
}
