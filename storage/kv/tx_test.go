package kv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestZeroDB(t *testing.T) {
	var db DB
	never := func(*Tx) error { t.Error("called"); return nil }
	for name, err := range map[string]error{
		"Update": db.Update(never), "View": db.View(never), "Batch": db.Batch(never), "Sync": db.Sync(),
	} {
		if err != ErrDatabaseNotOpen {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, db.Close())
}

func TestOpenManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			db, err := Open(path, 0o600, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if db.Path() != path {
				t.Errorf("path %q", db.Path())
			}
			err = db.Update(func(tx *Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				if err != nil {
					return err
				}
				_, err = b.NextSequence()
				return err
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db, err := Open(path, 0o600, nil)
	must(t, err)
	defer db.Close()
	must(t, db.View(func(tx *Tx) error {
		if n := tx.Bucket([]byte("b")).Sequence(); n != 30 || tx.ID() != 31 {
			t.Errorf("sequence %d, ID %d", n, tx.ID())
		}
		return nil
	}))
}

func TestOpenNeedsParent(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "no", "db"), 0o600, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing parent: %v", err)
	}
	if _, err := Open("", 0o600, nil); err == nil {
		t.Error("opened an empty path")
	}
	path := filepath.Join(t.TempDir(), "db")
	if _, err := Open(path, 0o600, &Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing, read-only: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("a read-only opening made something")
	}
}

func TestUpdateRollsBack(t *testing.T) {
	db := testDB(t)
	plant(t, db)
	want := dump(t, db)
	fault := errors.New("no")
	if err := db.Update(func(tx *Tx) error { must(t, tx.DeleteBucket([]byte("a\x00"))); return fault }); err != fault {
		t.Errorf("error %v", err)
	}
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = db.Update(func(tx *Tx) error { must(t, tx.DeleteBucket([]byte("a\x00"))); panic("boom") })
	}()
	if dump(t, db) != want {
		t.Error("a rollback left something")
	}
	update(t, db, func(tx *Tx) error {
		if tx.ID() != 3 {
			t.Errorf("ID %d, want 3: rollbacks do not count", tx.ID())
		}
		return nil
	})
}

func TestManagedTransactionRefusesToEnd(t *testing.T) {
	db := testDB(t)
	panics := func(fn func() error) {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = fn()
	}
	update(t, db, func(tx *Tx) error {
		panics(tx.Commit)
		panics(tx.Rollback)
		_, err := tx.CreateBucket([]byte("after"))
		return err
	})
	must(t, db.View(func(tx *Tx) error {
		panics(tx.Rollback)
		if tx.Bucket([]byte("after")) == nil {
			t.Error("the transaction did not go on")
		}
		return nil
	}))
}

func TestOnCommit(t *testing.T) {
	db := testDB(t)
	var ran []int
	update(t, db, func(tx *Tx) error {
		for i := range 3 {
			tx.OnCommit(func() {
				ran = append(ran, i)
				if tx.DB() != nil {
					t.Error("runs before the transaction is closed")
				}
				update(t, db, func(tx *Tx) error {
					_, err := tx.CreateBucketIfNotExists([]byte("hook"))
					return err
				})
			})
		}
		return nil
	})
	tx, err := db.Begin(true)
	must(t, err)
	tx.OnCommit(func() { t.Error("ran after a rollback") })
	must(t, tx.Rollback())
	if fmt.Sprint(ran) != "[0 1 2]" {
		t.Errorf("ran %v", ran)
	}
}

func TestClosedTransaction(t *testing.T) {
	db := testDB(t)
	plant(t, db)
	tx, err := db.Begin(true)
	must(t, err)
	b := tx.Bucket([]byte("a\x00"))
	c := b.Cursor()
	c.First()
	must(t, tx.Rollback())
	_, create := b.CreateBucket([]byte("x"))
	_, ensure := b.CreateBucketIfNotExists([]byte("x"))
	_, next := b.NextSequence()
	for name, err := range map[string]error{
		"CreateBucket": create, "CreateBucketIfNotExists": ensure, "NextSequence": next,
		"DeleteBucket": b.DeleteBucket([]byte("x")), "MoveBucket": b.MoveBucket([]byte("x"), b),
		"Put": b.Put(nil, nil), "Delete": b.Delete(nil), "SetSequence": b.SetSequence(1),
		"ForEach": b.ForEach(nil), "ForEachBucket": b.ForEachBucket(nil), "Tx.ForEach": tx.ForEach(nil),
		"Cursor.Delete": c.Delete(), "Commit": tx.Commit(), "Rollback": tx.Rollback(),
		"CopyFile": tx.CopyFile("", 0), "Copy": tx.Copy(nil), "Check": <-tx.Check(),
	} {
		if err != ErrTxClosed {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, move := range []func() ([]byte, []byte){c.First, c.Last, c.Next, c.Prev} {
		if k, v := move(); k != nil || v != nil {
			t.Error("a cursor gives data after the end")
		}
	}
	if b.Get([]byte("k")) != nil || b.Bucket([]byte("k\x00in")) != nil || tx.Bucket([]byte("a\x00")) != nil {
		t.Error("a closed transaction gives data")
	}
}

func TestReadOnlyTransaction(t *testing.T) {
	db := testDB(t)
	plant(t, db)
	must(t, db.View(func(tx *Tx) error {
		b := tx.Bucket([]byte("a\x00"))
		c := b.Cursor()
		c.First()
		_, create := tx.CreateBucket(nil)
		_, next := b.NextSequence()
		for name, err := range map[string]error{
			"CreateBucket": create, "NextSequence": next, "DeleteBucket": b.DeleteBucket(nil),
			"MoveBucket": b.MoveBucket(nil, b), "Put": b.Put(nil, nil), "Delete": b.Delete(nil),
			"SetSequence": b.SetSequence(1), "Cursor.Delete": c.Delete(),
		} {
			if err != ErrTxNotWritable {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	}))
}

func TestBatch(t *testing.T) {
	db := testDB(t)
	update(t, db, func(tx *Tx) error { _, err := tx.CreateBucket([]byte("b")); return err })
	db.MaxBatchDelay = time.Millisecond
	db.MaxBatchSize = 10
	fault := errors.New("this one fails")
	var wg sync.WaitGroup
	var failed, panicked atomic.Int64
	for i := range 100 {
		wg.Go(func() {
			defer func() {
				if p := recover(); p == "boom" {
					panicked.Add(1)
				} else if p != nil {
					t.Errorf("panic %v", p)
				}
			}()
			err := db.Batch(func(tx *Tx) error {
				if err := tx.Bucket([]byte("b")).Put(fmt.Appendf(nil, "%d", i), nil); err != nil {
					return err
				}
				switch i % 10 {
				case 3:
					return fault
				case 7:
					panic("boom")
				}
				return nil
			})
			if err == fault {
				failed.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if failed.Load() != 10 || panicked.Load() != 10 {
		t.Errorf("%d failed, %d panicked, want 10 each", failed.Load(), panicked.Load())
	}
	must(t, db.View(func(tx *Tx) error {
		if n := tx.Bucket([]byte("b")).Stats().KeyN; n != 80 {
			t.Errorf("%d keys, want 80", n)
		}
		return nil
	}))
}

func TestSlicesStayValid(t *testing.T) {
	db := testDB(t)
	fill(t, db, "b", 500, 200)
	update(t, db, func(tx *Tx) error {
		b := tx.Bucket([]byte("b"))
		type pair struct{ k, v []byte }
		var held []pair
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if len(k) != cap(k) || len(v) != cap(v) {
				t.Fatal("slice with room behind it")
			}
			held = append(held, pair{k, v})
			if got := b.Get(k); !bytes.Equal(got, v) {
				t.Fatal("get differs")
			}
			must(t, b.Put(k, []byte("other")))
		}
		for i, p := range held {
			if string(p.k) != fmt.Sprintf("key-%06d", i) || !bytes.Equal(p.v, bytes.Repeat([]byte{byte(i)}, 200)) {
				t.Fatalf("slices of key %d changed", i)
			}
		}
		return nil
	})
}

func TestEmptyValues(t *testing.T) {
	db := testDB(t)
	check := func(tx *Tx) error {
		for _, k := range []string{"nil", "empty"} {
			if v := tx.Bucket([]byte("b")).Get([]byte(k)); v == nil || len(v) != 0 {
				t.Errorf("%s: value %v", k, v)
			}
		}
		return nil
	}
	update(t, db, func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		must(t, err)
		must(t, b.Put([]byte("nil"), nil))
		must(t, b.Put([]byte("empty"), []byte{}))
		return check(tx)
	})
	must(t, db.View(check))
}

// TestLargeValues writes values larger than a table in memory, which take another way in.
func TestLargeValues(t *testing.T) {
	fs := vfs.NewMem()
	e := testEngine(t, fs, EngineOptions{MemTableBytes: 1 << 20})
	db := namespaceDB(t, e, 1)
	big := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	update(t, db, func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		must(t, err)
		must(t, b.Put(bytes.Repeat([]byte{0}, MaxKeySize), big))
		if !bytes.Equal(b.Get(bytes.Repeat([]byte{0}, MaxKeySize)), big) {
			t.Error("not readable in its transaction")
		}
		return b.Put([]byte("small"), []byte("v"))
	})
	must(t, e.Close())
	e = testEngine(t, fs, EngineOptions{})
	must(t, namespaceDB(t, e, 1).View(func(tx *Tx) error {
		k, v := tx.Bucket([]byte("b")).Cursor().First()
		if len(k) != MaxKeySize || !bytes.Equal(v, big) {
			t.Errorf("found %d bytes under %d", len(v), len(k))
		}
		return nil
	}))
}

func TestManyCursors(t *testing.T) {
	db := testDB(t)
	const keys, cursors = 50, 3000
	fill(t, db, "b", keys, 5)
	must(t, db.View(func(tx *Tx) error {
		b := tx.Bucket([]byte("b"))
		var open []*Cursor
		for i := range cursors {
			c := b.Cursor()
			c.Seek(fmt.Appendf(nil, "key-%06d", i%(keys-1)))
			open = append(open, c)
		}
		for i, c := range open {
			if k, _ := c.Next(); string(k) != fmt.Sprintf("key-%06d", i%(keys-1)+1) {
				t.Fatalf("cursor %d is at %s", i, k)
			}
		}
		if n := len(tx.iters.lent) + len(tx.iters.idle); n > maxLentIterators+maxIdleIterators {
			t.Errorf("%d iterators", n)
		}
		return nil
	}))
}

// TestCursorAfterWrites writes behind the back of placed cursors.
func TestCursorAfterWrites(t *testing.T) {
	db := testDB(t)
	fill(t, db, "b", 10, 1)
	update(t, db, func(tx *Tx) error {
		b := tx.Bucket([]byte("b"))
		want := func(what string, k []byte, key string) {
			t.Helper()
			if string(k) != key {
				t.Errorf("%s: at %q, want %q", what, k, key)
			}
		}
		c := b.Cursor()
		k, _ := c.Seek([]byte("key-000005"))
		want("seek", k, "key-000005")
		must(t, b.Put([]byte("key-000005x"), nil))
		k, _ = c.Next()
		want("next sees a put", k, "key-000005x")
		must(t, b.Delete([]byte("key-000006")))
		k, _ = c.Next()
		want("next skips a deleted one", k, "key-000007")
		must(t, c.Delete())
		k, _ = c.Prev()
		want("prev after deletions", k, "key-000005x")
		must(t, c.Delete())
		k, _ = c.Next()
		want("next after deletions", k, "key-000008")
		k, _ = c.Next()
		want("next", k, "key-000009")
		k, _ = c.Next()
		want("end", k, "")
		_, err := b.CreateBucket([]byte("z"))
		must(t, err)
		k, v := c.Next()
		want("next sees a bucket behind the end", k, "z")
		if v != nil || c.Delete() != ErrIncompatibleValue {
			t.Error("a bucket is not a key")
		}
		return nil
	})
}

func TestMoveBucketChecks(t *testing.T) {
	db, other := testDB(t), testDB(t)
	plant(t, db)
	plant(t, other)
	tx, err := db.Begin(true)
	must(t, err)
	defer tx.Rollback()
	elsewhere, err := other.Begin(true)
	must(t, err)
	defer elsewhere.Rollback()
	a := tx.Bucket([]byte("a\x00"))
	inner := a.Bucket([]byte("k\x00in"))
	for name, c := range map[string]struct{ got, want error }{
		"other database": {a.MoveBucket([]byte("k\x00in"), elsewhere.Bucket([]byte("empty"))), ErrDifferentDB},
		"missing":        {a.MoveBucket([]byte("no"), inner), ErrBucketNotFound},
		"key":            {a.MoveBucket([]byte("k"), inner), ErrIncompatibleValue},
		"same":           {a.MoveBucket([]byte("k\x00in"), tx.BucketAt([]byte("a\x00"))), ErrSameBuckets},
		"root to root":   {tx.MoveBucket([]byte("empty"), nil, nil), ErrSameBuckets},
		"into itself":    {tx.MoveBucket([]byte("a\x00"), nil, inner), ErrIncompatibleValue},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	must(t, inner.SetSequence(9))
	must(t, a.MoveBucket([]byte("k\x00in"), tx.Bucket([]byte("empty"))))
	moved := tx.BucketAt([]byte("empty"), []byte("k\x00in"))
	if moved == nil || moved.Sequence() != 9 || len(moved.Get([]byte("deep"))) != 3 {
		t.Error("the bucket did not arrive whole")
	}
	if inner.Put([]byte("x"), nil) != ErrBucketNotFound || a.Bucket([]byte("k\x00in")) != nil {
		t.Error("the bucket is still where it was")
	}
}

// TestDeadHandles uses handles of deleted buckets: they must not write into what comes after.
func TestDeadHandles(t *testing.T) {
	db := testDB(t)
	plant(t, db)
	update(t, db, func(tx *Tx) error {
		a := tx.Bucket([]byte("a\x00"))
		inner := a.Bucket([]byte("k\x00in"))
		must(t, tx.DeleteBucket([]byte("a\x00")))
		if a.Put([]byte("x"), nil) != ErrBucketNotFound || inner.Put([]byte("x"), nil) != ErrBucketNotFound {
			t.Error("wrote into a deleted bucket")
		}
		again, err := tx.CreateBucket([]byte("a\x00"))
		must(t, err)
		if k, _ := again.Cursor().First(); k != nil || again.Sequence() != 0 {
			t.Error("a bucket created again is not empty")
		}
		if inner.Put([]byte("x"), nil) != ErrBucketNotFound {
			t.Error("wrote into a bucket inside a deleted one")
		}
		return nil
	})
	dump(t, db) // checks the rows
}

func TestReadersDoNotBlock(t *testing.T) {
	db := testDB(t)
	fill(t, db, "b", 10, 1)
	reader, err := db.Begin(false)
	must(t, err)
	want := dumpOurs(reader)
	writer, err := db.Begin(true)
	must(t, err)
	must(t, writer.DeleteBucket([]byte("b")))
	second, err := db.Begin(false)
	must(t, err)
	must(t, writer.Commit())
	fill(t, db, "c", 100, 1000)
	if dumpOurs(reader) != want || dumpOurs(second) != want {
		t.Error("a reader saw a later commit")
	}
	if s := db.Stats(); s.TxN != 2 || s.OpenTxN != 2 {
		t.Errorf("stats %+v", s)
	}
	must(t, reader.Rollback())
	must(t, second.Rollback())
}

func TestCompact(t *testing.T) {
	for _, size := range []int64{0, 1, 1000} {
		src, dst := testDB(t), testDB(t)
		plant(t, src)
		fill(t, src, "data", 200, 30)
		must(t, Compact(dst, src, size))
		if dump(t, dst) != dump(t, src) {
			t.Errorf("size %d: contents differ", size)
		}
		must(t, dst.View(func(tx *Tx) error {
			if many := tx.ID() > 2; many != (size > 0) {
				t.Errorf("size %d: %d transactions", size, tx.ID()-1)
			}
			return nil
		}))
	}
}

// TestCheckFindsFaults writes rows no transaction would.
func TestCheckFindsFaults(t *testing.T) {
	bad := map[string][]byte{
		"key in the root":        appendElement(rootPrefix(1), []byte("k"), endKey),
		"row without its bucket": encodePath([][]byte{[]byte("no"), []byte("k")}, endKey),
		"key and bucket":         encodePath([][]byte{[]byte("b"), []byte("key-000001")}, endBucket),
		"garbage":                append(rootPrefix(1), "zz"...),
		"meta row":               metaKey(1),
	}
	for name, row := range bad {
		t.Run(name, func(t *testing.T) {
			db := testDB(t)
			fill(t, db, "b", 3, 1)
			must(t, db.engine.pebble.Set(row, make([]byte, bucketRowLen), pebble.NoSync))
			must(t, db.View(func(tx *Tx) error {
				if err := <-tx.Check(); err == nil {
					t.Error("no fault found")
				}
				return nil
			}))
		})
	}
}

// TestMoveKeepsChanges moves a bucket that the same transaction changed, at two depths, before it
// commits.
func TestMoveKeepsChanges(t *testing.T) {
	db := testDB(t)
	update(t, db, func(tx *Tx) error {
		must(t, created(tx.CreateBucket([]byte("to"))))
		from, err := tx.CreateBucket([]byte("from"))
		must(t, err)
		b, err := from.CreateBucket([]byte("b"))
		must(t, err)
		must(t, b.Put([]byte("old"), []byte("1")))
		return created(b.CreateBucket([]byte("inner")))
	})
	update(t, db, func(tx *Tx) error {
		b := tx.BucketAt([]byte("from"), []byte("b"))
		must(t, b.Put([]byte("new"), []byte("2")))
		must(t, b.Delete([]byte("old")))
		must(t, b.SetSequence(3))
		must(t, b.Bucket([]byte("inner")).Put([]byte("deep"), []byte("4")))
		return tx.MoveBucket([]byte("b"), tx.Bucket([]byte("from")), tx.Bucket([]byte("to")))
	})
	dump(t, db)
	must(t, db.View(func(tx *Tx) error {
		if tx.BucketAt([]byte("from"), []byte("b")) != nil {
			t.Error("still where it was")
		}
		b := tx.BucketAt([]byte("to"), []byte("b"))
		if b == nil || string(b.Get([]byte("new"))) != "2" || b.Get([]byte("old")) != nil || b.Sequence() != 3 {
			t.Fatalf("changes did not move: %v", b)
		}
		if got := b.Bucket([]byte("inner")).Get([]byte("deep")); string(got) != "4" {
			t.Errorf("changes inside did not move: %q", got)
		}
		return nil
	}))
}
