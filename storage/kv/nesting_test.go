package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// nest creates buckets in buckets and returns the deepest.
func nest(tx *Tx, levels int, name func(level int) []byte) (b *Bucket, err error) {
	for level := range levels {
		if level == 0 {
			b, err = tx.CreateBucket(name(level))
		} else {
			b, err = b.CreateBucket(name(level))
		}
		if err == nil {
			err = b.SetSequence(uint64(level))
		}
		if err != nil {
			return nil, fmt.Errorf("level %d: %w", level, err)
		}
	}
	return b, nil
}

// descend opens bucket after bucket and looks at each.
func descend(t *testing.T, tx *Tx, levels int, name func(level int) []byte) (deepest *Bucket) {
	t.Helper()
	c := tx.Cursor()
	for level := range levels {
		k, v := c.First()
		if !bytes.Equal(k, name(level)) || v != nil {
			t.Fatalf("level %d: wrong bucket of %d bytes", level, len(k))
		}
		if level == 0 {
			deepest = tx.Bucket(k)
		} else {
			deepest = deepest.Bucket(k)
		}
		if deepest == nil || deepest.Sequence() != uint64(level) {
			t.Fatalf("level %d: no bucket or its sequence is wrong", level)
		}
		c = deepest.Cursor()
	}
	return deepest
}

// TestDeepNesting nests buckets as no program does and uses the deepest like any other: written, found
// again after a reopening, streamed, restored, compacted, moved, deleted.
func TestDeepNesting(t *testing.T) {
	long := func(fill byte) func(int) []byte {
		name := bytes.Repeat([]byte{fill}, MaxKeySize)
		return func(level int) []byte { name[0] = byte(level); return bytes.Clone(name) }
	}
	for _, test := range []struct {
		what   string
		levels int
		name   func(level int) []byte
	}{
		{"short names", 10_000, func(level int) []byte { return []byte{byte(level)} }},
		{"names of ten bytes", 3_000, func(level int) []byte { return fmt.Appendf(nil, "level %04d", level) }},
		{"long names", 40, long('x')},
		{"long names of zero bytes", 20, long(0)},
	} {
		t.Run(test.what, func(t *testing.T) {
			levels := test.levels
			if testing.Short() || raceEnabled {
				levels = levels/10 + 2
			}
			fs := vfs.NewMem()
			e, err := OpenEngine("store", EngineOptions{FS: fs})
			must(t, err)
			defer func() { must(t, e.Close()) }()
			db := namespaceDB(t, e, 1)
			update(t, db, func(tx *Tx) error {
				b, err := nest(tx, levels, test.name)
				must(t, err)
				must(t, b.Put([]byte("k"), []byte("v")))
				must(t, b.Put([]byte("l"), []byte("w")))
				return b.Delete([]byte("l"))
			})
			must(t, e.Close())
			e, err = OpenEngine("store", EngineOptions{FS: fs})
			must(t, err)
			db = namespaceDB(t, e, 1)
			check := func(db *DB) {
				t.Helper()
				must(t, db.View(func(tx *Tx) error {
					b := descend(t, tx, levels, test.name)
					if k, v := b.Cursor().First(); string(k) != "k" || string(v) != "v" {
						t.Errorf("the deepest bucket holds %q, %q", k, v)
					}
					if stats := tx.Bucket(test.name(0)).Stats(); stats.BucketN != levels || stats.KeyN != levels {
						t.Errorf("%+v", stats)
					}
					for err := range tx.Check() {
						t.Error(err)
					}
					return nil
				}))
			}
			check(db)
			restored := namespaceDB(t, e, 2)
			must(t, restored.Restore(bytes.NewReader(streamOf(t, db))))
			check(restored)
			compacted := namespaceDB(t, e, 3)
			must(t, Compact(compacted, db, 1<<20))
			check(compacted)
			update(t, db, func(tx *Tx) error {
				into, err := tx.CreateBucket([]byte("another"))
				must(t, err)
				must(t, tx.MoveBucket(test.name(0), nil, into))
				if into.Stats().BucketN != levels+1 {
					t.Errorf("moved: %+v", into.Stats())
				}
				must(t, tx.MoveBucket(test.name(0), into, nil))
				return tx.DeleteBucket([]byte("another"))
			})
			check(db)
			update(t, db, func(tx *Tx) error { return tx.DeleteBucket(test.name(0)) })
			if got := dump(t, db); got != dump(t, namespaceDB(t, e, 9)) {
				t.Errorf("left after deleting: %.200s", got)
			}
		})
	}
}

// TestNestingIsBounded goes beyond the longest path there may be: a bucket's row key cannot grow for ever.
func TestNestingIsBounded(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("needs a gigabyte of memory")
	}
	const levels = maxHolderBytes / (2 * MaxKeySize)
	name := func(int) []byte { return make([]byte, MaxKeySize) }
	// By a stream: in a transaction the rows of one path would take gigabytes.
	db := testDB(t)
	must(t, db.Restore(streamPath(t, levels, name)))
	update(t, db, func(tx *Tx) error {
		path := make([][]byte, levels)
		for level := range path {
			path[level] = name(level)
		}
		b := tx.BucketAt(path...)
		must(t, b.Put([]byte("k"), []byte("v")))
		if err := created(b.CreateBucket([]byte("b"))); err != ErrKeyTooLarge {
			t.Errorf("a bucket too deep: %v", err)
		}
		b = tx.BucketAt(path[:levels-2]...)
		tree, err := b.CreateBucket([]byte("tree"))
		must(t, err)
		must(t, created(tree.CreateBucket([]byte("leaf"))))
		if err := b.MoveBucket([]byte("tree"), tx.BucketAt(path...)); err != ErrKeyTooLarge {
			t.Errorf("moved too deep: %v", err)
		}
		return nil
	})
	if err := testDB(t).Restore(streamPath(t, levels+2, name)); !errors.Is(err, ErrCorruptStream) {
		t.Errorf("restore of too deep a path: %v", err)
	}
}

// streamPath makes a stream of buckets in buckets.
func streamPath(t *testing.T, levels int, name func(level int) []byte) io.Reader {
	var stream bytes.Buffer
	s := newStreamWriter(&stream)
	s.header(5, 0)
	for level := range levels {
		s.bucket(name(level), bucketRow{nests: true})
	}
	s.up(levels)
	must(t, s.end())
	return &stream
}
