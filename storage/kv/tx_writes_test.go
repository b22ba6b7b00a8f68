package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestWriteIndex writes, deletes and deletes ranges of few names at random, asks for each in between at
// random, and expects what a map says.
func TestWriteIndex(t *testing.T) {
	e := testDB(t).engine
	const names = 300
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		batch := e.pebble.NewBatch()
		type row struct {
			value []byte
			found bool
		}
		var index writeIndex
		model := map[string]row{}
		name := func(i int) []byte { return fmt.Appendf(nil, "name %03d", i) }
		ranges := 0
		for n := range 3000 {
			key := name(rng.IntN(names))
			switch op := rng.IntN(1000); {
			case op < 5 && ranges < maxDeletedRanges:
				ranges++
				from := rng.IntN(names)
				to := from + rng.IntN(30)
				must(t, batch.DeleteRange(name(from), name(to), nil))
				for i := from; i < to; i++ {
					model[string(name(i))] = row{}
				}
			case op < 300:
				must(t, batch.Delete(key, nil))
				model[string(key)] = row{}
			case op < 700:
				value := fmt.Appendf(nil, "%d", n)
				must(t, batch.Set(key, value, nil))
				model[string(key)] = row{value, true}
			default:
				repr := batch.Repr()
				if !index.update(repr) {
					t.Fatal("too many ranges")
				}
				want, wantKnown := model[string(key)]
				value, found, known := index.find(repr, key)
				if known != wantKnown || found != want.found || found && !bytes.Equal(value, want.value) {
					t.Fatalf("%s: got %q, %t, %t, want %q, %t, %t", key, value, found, known, want.value, want.found, wantKnown)
				}
			}
		}
		must(t, batch.Close())
	}
}

// TestManyDeletedRanges deletes and refills more large buckets in a transaction than the index of its
// writes goes through, reading in between by key and by cursor.
func TestManyDeletedRanges(t *testing.T) {
	db := testDB(t)
	for i := range maxDeletedRanges + 3 {
		fill(t, db, fmt.Sprintf("bucket %02d", i), fewRows+1, 10)
	}
	update(t, db, func(tx *Tx) error {
		for i := range maxDeletedRanges + 3 {
			name := fmt.Appendf(nil, "bucket %02d", i)
			must(t, tx.DeleteBucket(name))
			b, err := tx.CreateBucket(name)
			must(t, err)
			key := []byte("key-000003")
			if b.Get(key) != nil || b.Sequence() != 0 {
				t.Errorf("bucket %d: a key came back", i)
			}
			must(t, b.Put(key, name))
			if got := b.Get(key); !bytes.Equal(got, name) {
				t.Errorf("bucket %d: %q", i, got)
			}
			if k, v := b.Cursor().First(); !bytes.Equal(k, key) || !bytes.Equal(v, name) {
				t.Errorf("bucket %d: cursor %q, %q", i, k, v)
			}
			must(t, b.Delete(key))
			if b.Get(key) != nil {
				t.Errorf("bucket %d: a deleted key", i)
			}
			must(t, b.Put(key, name))
		}
		return nil
	})
	want := 0
	must(t, db.View(func(tx *Tx) error {
		return tx.ForEach(func(name []byte, b *Bucket) error {
			if got := b.Get([]byte("key-000003")); !bytes.Equal(got, name) || b.Stats().KeyN != 1 {
				t.Errorf("%s: %q, %+v", name, got, b.Stats())
			}
			want++
			return nil
		})
	}))
	if want != maxDeletedRanges+3 {
		t.Errorf("%d buckets", want)
	}
	dump(t, db)
}
