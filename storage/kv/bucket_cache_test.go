package kv

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Rows of buckets that are kept from one transaction to the next are those of the
// transaction's own state, whatever was created, dropped, moved or numbered since, and
// however old the transaction is.
func TestBucketCacheAgainstModel(t *testing.T) {
	db := testDB(t)
	random := rand.New(rand.NewPCG(7, 8))
	var paths []string // at most two deep
	for outer := range 6 {
		paths = append(paths, fmt.Sprint("b", outer))
		for inner := range 5 {
			paths = append(paths, fmt.Sprintf("b%d/n%d", outer, inner))
		}
	}
	open := func(tx *Tx, path string) *Bucket {
		var names [][]byte
		for name := range strings.SplitSeq(path, "/") {
			names = append(names, []byte(name))
		}
		return tx.BucketAt(names...)
	}
	type reader struct {
		tx   *Tx
		want map[string]uint64 // sequences by path
	}
	verify := func(r reader) {
		t.Helper()
		for range 12 {
			path := paths[random.IntN(len(paths))]
			want, exists := r.want[path]
			b := open(r.tx, path)
			if (b != nil) != exists || b != nil && b.Sequence() != want {
				t.Fatalf("%s: there is %v, want %v with sequence %d", path, b != nil, exists, want)
			}
		}
	}
	now := map[string]uint64{}
	var readers []reader
	defer func() {
		for _, r := range readers {
			must(t, r.tx.Rollback())
		}
	}()
	for range 600 {
		next := maps.Clone(now)
		must(t, db.Update(func(tx *Tx) error {
			for range random.IntN(6) {
				path := paths[random.IntN(len(paths))]
				parent, name, nested := strings.Cut(path, "/")
				_, exists := next[path]
				if _, there := next[parent]; nested && !there {
					continue
				}
				switch random.IntN(4) {
				case 0: // drop, with what is inside
					if !exists {
						continue
					}
					var err error
					if nested {
						err = open(tx, parent).DeleteBucket([]byte(name))
					} else {
						err = tx.DeleteBucket([]byte(path))
					}
					if err != nil {
						return err
					}
					maps.DeleteFunc(next, func(p string, _ uint64) bool { return p == path || strings.HasPrefix(p, path+"/") })
				case 1: // number
					if exists {
						next[path]++
						if err := open(tx, path).SetSequence(next[path]); err != nil {
							return err
						}
					}
				default:
					var err error
					if nested {
						_, err = open(tx, parent).CreateBucketIfNotExists([]byte(name))
					} else {
						_, err = tx.CreateBucketIfNotExists([]byte(path))
					}
					if err != nil {
						return err
					}
					if !exists {
						next[path] = 0
					}
				}
				verify(reader{tx, next})
			}
			return nil
		}))
		now = next
		tx, err := db.Begin(false)
		must(t, err)
		if readers = append(readers, reader{tx, now}); len(readers) > 5 {
			must(t, readers[0].tx.Rollback())
			readers = readers[1:]
		}
		for _, r := range readers {
			verify(r)
		}
	}
}

// Dropping rows looks at each once, whatever number of prefixes were removed; some lie
// in others.
func TestDropFromRows(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	word := func(most int) string {
		b := make([]byte, random.IntN(most+1))
		for i := range b {
			b[i] = "abc"[random.IntN(3)]
		}
		return string(b)
	}
	for range 500 {
		changes := &bucketChanges{}
		var prefixes []string
		for range random.IntN(6) {
			prefix := "a" + word(4)
			changes.span([]byte(prefix))
			prefixes = append(prefixes, prefix)
		}
		rows, want := map[string]bucketRow{}, map[string]bucketRow{}
		for range 60 {
			key := word(6)
			rows[key] = bucketRow{}
			if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
				want[key] = bucketRow{}
			}
		}
		if changes.dropFrom(rows); !slices.Equal(slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(want))) {
			t.Fatalf("%q leave %q, want %q", prefixes, slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(want)))
		}
	}
}
