package kv

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestTxTooLarge fills a transaction up to its limit in every way there is: the write that does not
// fit is refused and changes nothing, those before commit.
func TestTxTooLarge(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	db := namespaceDB(t, e, 1)
	fill(t, db, "big", 100, 1000)
	fill(t, db, "few", fewRows/2, 10)
	want := ""
	for name, write := range map[string]func(tx *Tx, b *Bucket) error{
		"put":          func(_ *Tx, b *Bucket) error { return b.Put([]byte("k"), make([]byte, 1000)) },
		"delete":       func(_ *Tx, b *Bucket) error { return b.Delete(make([]byte, 1000)) },
		"create":       func(_ *Tx, b *Bucket) error { return created(b.CreateBucket(make([]byte, 1000))) },
		"create root":  func(tx *Tx, _ *Bucket) error { return created(tx.CreateBucket(make([]byte, 1000))) },
		"sequence":     func(_ *Tx, b *Bucket) error { return b.SetSequence(9) },
		"delete a big": func(tx *Tx, _ *Bucket) error { return tx.DeleteBucket([]byte("big")) },
		"delete a few": func(tx *Tx, _ *Bucket) error { return tx.DeleteBucket([]byte("few")) },
		"move":         func(tx *Tx, b *Bucket) error { return tx.MoveBucket([]byte("big"), nil, b) },
	} {
		t.Run(name, func(t *testing.T) {
			update(t, db, func(tx *Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte("b"))
				must(t, err)
				must(t, b.Put([]byte("first"), nil))
				e.txBytesMax = tx.writer.Bytes() + 2*rowOverhead
				if err := write(tx, b); err != ErrTxTooLarge {
					t.Errorf("got %v", err)
				}
				return nil
			})
			e.txBytesMax = maxTxBytes
			got := dump(t, db)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("contents changed: %s", got)
			}
		})
	}
}

// TestMoveTooLarge moves buckets of all sizes with room for more and more writes left: a move that is
// refused has changed nothing and the transaction goes on, from some room on it is made, and never in
// between.
func TestMoveTooLarge(t *testing.T) {
	for _, keys := range []int{0, 3, fewRows - 1, fewRows, 200} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			e := testEngine(t, vfs.NewMem(), EngineOptions{})
			db := namespaceDB(t, e, 1)
			fill(t, db, "tree", keys, 50)
			update(t, db, func(tx *Tx) error {
				must(t, created(tx.Bucket([]byte("tree")).CreateBucket(make([]byte, 300))))
				return created(tx.CreateBucket([]byte("target")))
			})
			before, moved, refused := dump(t, db), false, 0
			for room := 0; !moved; room += 1 + room/3 {
				tx, err := db.Begin(true)
				must(t, err)
				must(t, tx.Bucket([]byte("target")).SetSequence(1))
				want := dumpOurs(tx)
				e.txBytesMax = tx.writer.Bytes() + room
				err = tx.MoveBucket([]byte("tree"), nil, tx.Bucket([]byte("target")))
				e.txBytesMax = maxTxBytes
				switch err {
				case nil:
					moved = true
					if tx.Bucket([]byte("tree")) != nil || tx.BucketAt([]byte("target"), []byte("tree"), make([]byte, 300)) == nil {
						t.Error("moved in part")
					}
				case ErrTxTooLarge:
					refused++
					if got := dumpOurs(tx); got != want {
						t.Errorf("a refused move with room for %d bytes left\n%.300s\nwant\n%.300s", room, got, want)
						moved = true // enough seen
					}
				default:
					t.Error(err)
					moved = true
				}
				must(t, tx.Rollback())
			}
			if refused == 0 || dump(t, db) != before {
				t.Errorf("refused %d times; contents changed: %t", refused, dump(t, db) != before)
			}
		})
	}
}

// TestHugeValue keeps a value of 256 MiB through a commit, a flush, a scan and a stream.
func TestHugeValue(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a gigabyte of memory")
	}
	if raceEnabled {
		t.Skip("slow under the race detector")
	}
	e, err := OpenEngine(t.TempDir(), EngineOptions{})
	must(t, err)
	defer func() { must(t, e.Close()) }()
	db := namespaceDB(t, e, 1)
	huge := make([]byte, 256<<20)
	for i := 0; i < len(huge); i += 4096 {
		huge[i] = byte(i >> 12)
	}
	update(t, db, func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		must(t, err)
		must(t, b.Put([]byte("k"), huge))
		if !bytes.Equal(b.Get([]byte("k")), huge) {
			t.Error("differs in its own transaction")
		}
		return nil
	})
	must(t, e.Sync())
	copied := namespaceDB(t, e, 2)
	must(t, copied.Restore(bytes.NewReader(streamOf(t, db))))
	must(t, copied.View(func(tx *Tx) error {
		if _, v := tx.Bucket([]byte("b")).Cursor().First(); !bytes.Equal(v, huge) {
			t.Error("differs after a restore")
		}
		return nil
	}))
}

// TestManyHandles opens more buckets in a transaction than it remembers handles of, writes through
// second handles, and expects the first ones to know.
func TestManyHandles(t *testing.T) {
	db := testDB(t)
	update(t, db, func(tx *Tx) error {
		first, err := tx.CreateBucket([]byte("first"))
		must(t, err)
		must(t, created(first.CreateBucket([]byte("a"))))
		for i := range 3 * maxHandles {
			must(t, created(tx.CreateBucket(fmt.Appendf(nil, "other %d", i))))
		}
		second := tx.Bucket([]byte("first"))
		if second == first {
			t.Fatal("the handle is still remembered: the test shows nothing")
		}
		must(t, created(second.CreateBucket([]byte("b"))))
		must(t, second.Put([]byte("c"), []byte("c")))
		must(t, second.SetSequence(4))
		if err := created(first.CreateBucket([]byte("b"))); err != ErrBucketExists {
			t.Errorf("create over a bucket made by another handle: %v", err)
		}
		if err := first.Put([]byte("b"), nil); err != ErrIncompatibleValue {
			t.Errorf("put over a bucket made by another handle: %v", err)
		}
		if err := created(first.CreateBucket([]byte("c"))); err != ErrIncompatibleValue {
			t.Errorf("create over a key put by another handle: %v", err)
		}
		if got := first.Sequence(); got != 4 {
			t.Errorf("sequence %d, want 4", got)
		}
		must(t, tx.DeleteBucket([]byte("first")))
		if first.Get([]byte("c")) != nil || second.Get([]byte("c")) != nil {
			t.Error("a deleted bucket still has its key")
		}
		third, err := tx.CreateBucket([]byte("first"))
		must(t, err)
		must(t, third.Put([]byte("z"), nil))
		must(t, created(third.CreateBucket([]byte("a"))))
		if err := created(third.CreateBucket([]byte("z"))); err != ErrIncompatibleValue {
			t.Errorf("create over a key: %v", err)
		}
		if err := third.Put([]byte("a"), nil); err != ErrIncompatibleValue {
			t.Errorf("put over a bucket: %v", err)
		}
		return nil
	})
	dump(t, db)
}

// TestBucketCacheFollowsCommits opens a bucket in many short transactions around commits that make,
// change and remove it, while an old reader looks on.
func TestBucketCacheFollowsCommits(t *testing.T) {
	e := testEngine(t, vfs.NewMem(), EngineOptions{})
	db := namespaceDB(t, e, 1)
	open := func(tx *Tx) (found bool, sequence uint64) {
		b := tx.Bucket([]byte("b"))
		if b == nil {
			return false, 0
		}
		return true, b.Sequence()
	}
	expect := func(tx *Tx, wantFound bool, want uint64) {
		t.Helper()
		if found, sequence := open(tx); found != wantFound || sequence != want {
			t.Errorf("found %t, sequence %d, want %t, %d", found, sequence, wantFound, want)
		}
	}
	views := func(wantFound bool, want uint64) {
		t.Helper()
		for range 3 {
			must(t, db.View(func(tx *Tx) error { expect(tx, wantFound, want); return nil }))
		}
	}
	views(false, 0)
	update(t, db, func(tx *Tx) error { return created(tx.CreateBucket([]byte("b"))) })
	views(true, 0)
	old, err := db.Begin(false)
	must(t, err)
	for n := uint64(1); n < 5; n++ {
		update(t, db, func(tx *Tx) error { return tx.Bucket([]byte("b")).SetSequence(n) })
		views(true, n)
	}
	expect(old, true, 0)
	stream := streamOf(t, db)
	update(t, db, func(tx *Tx) error { return tx.DeleteBucket([]byte("b")) })
	views(false, 0)
	must(t, db.Restore(bytes.NewReader(stream)))
	views(true, 4)
	must(t, e.Drop(1))
	views(false, 0)
	must(t, old.Rollback())
	tx, err := db.Begin(true)
	must(t, err)
	must(t, created(tx.CreateBucket([]byte("b"))))
	views(false, 0)
	must(t, tx.Rollback())
	views(false, 0)
}
