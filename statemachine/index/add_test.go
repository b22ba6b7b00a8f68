package index_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
)

// numbered returns a segment with a few strings of its own.
func numbered(n int) *metastorev1.BlockMeta {
	block := segment()
	block.Id = fmt.Sprintf("01JGJFGR48%016d", n)
	block.StringTable = append(block.StringTable, fmt.Sprint("host-", n%50))
	block.CreatedBy = 4
	return block
}

func addAll(db *kv.DB, cache *index.StringsCache, entry uint64, blocks ...*metastorev1.BlockMeta) error {
	return db.Update(func(tx *kv.Tx) error {
		w := index.NewWriter(tx, cache)
		for _, block := range blocks {
			if _, err := w.Add(block, entry); err != nil {
				return err
			}
		}
		return w.Flush()
	})
}

func strings(t *testing.T, db *kv.DB, ids ...string) [][]string {
	t.Helper()
	var parsed []ulid.ULID
	for _, id := range ids {
		p, err := metastorev1.ParseID(id)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, p)
	}
	var tables [][]string
	err := db.View(func(tx *kv.Tx) error {
		return index.NewReader(tx).Entries(t.Context(), "", 1, parsed, func(block *metastorev1.BlockMeta) error {
			tables = append(tables, block.StringTable)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// A cached string table must never be used for other contents than it was
// cached for: here the shard changes behind the cache's back, as it does when a
// snapshot is installed.
func TestCacheIsBoundToTheRevision(t *testing.T) {
	ours, theirs := newDB(t), newDB(t)
	cache := index.NewStringsCache(1 << 20)
	named := func(n int, host string) *metastorev1.BlockMeta {
		block := numbered(n)
		block.StringTable[4] = host
		return block
	}
	for _, step := range []struct {
		db    *kv.DB
		cache *index.StringsCache
		entry uint64
		block *metastorev1.BlockMeta
	}{
		{ours, cache, 1, named(1, "a")}, {ours, cache, 2, named(2, "b")},
		{theirs, index.NewStringsCache(0), 1, named(1, "x")}, {theirs, index.NewStringsCache(0), 3, named(2, "y")},
		// The cache holds our table at entry 2; their shard is at entry 3.
		{theirs, cache, 4, named(3, "a")},
	} {
		if err := addAll(step.db, step.cache, step.entry, step.block); err != nil {
			t.Fatal(err)
		}
	}
	got := strings(t, theirs, numbered(1).Id, numbered(2).Id, numbered(3).Id)
	for i, host := range []string{"x", "y", "a"} {
		if len(got) != 3 || got[i][1] != host {
			t.Fatalf("the strings are %q, block %d must be by %s", got, i+1, host)
		}
	}
}

// With a cache of any size the result is the same as without.
func TestCacheSizes(t *testing.T) {
	var want [][]string
	for _, size := range []int{0, 1, 2000, 1 << 20} {
		db, cache := newDB(t), index.NewStringsCache(size)
		var ids []string
		for n := range 120 {
			block := numbered(n)
			ids = append(ids, block.Id)
			other := numbered(n)
			other.Shard = uint32(2 + n%5)
			if err := addAll(db, cache, uint64(n+1), block, other); err != nil {
				t.Fatal(err)
			}
		}
		got := strings(t, db, ids...)
		if want == nil {
			want = got
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("with a cache of %d bytes the strings differ", size)
		}
	}
}

// An add into one hot shard, each in a transaction of its own, by what the
// shard holds: blocks, and strings in its table.
func BenchmarkAdd(b *testing.B) {
	for _, size := range []struct{ blocks, strings int }{{0, 0}, {10_000, 50}, {10_000, 10_000}} {
		b.Run(fmt.Sprintf("blocks=%d/strings=%d", size.blocks, size.strings), func(b *testing.B) {
			engine, err := kv.OpenEngine(b.TempDir(), kv.EngineOptions{})
			if err != nil {
				b.Fatal(err)
			}
			defer engine.Close() //nolint:errcheck // a benchmark's throw-away store
			db, err := engine.DB(1)
			if err != nil {
				b.Fatal(err)
			}
			cache := index.NewStringsCache(8 << 20)
			n := 0
			addOne := func() error {
				n++
				block := numbered(n)
				if n <= size.strings {
					block.StringTable[4] = fmt.Sprint("string-", n)
				}
				return addAll(db, cache, uint64(n), block)
			}
			for range size.blocks {
				if err := addOne(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := addOne(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
