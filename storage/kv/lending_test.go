package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// What a lending cursor shows, and Peek, is what the copying ones do, also beside
// more cursors than may hold iterators, and over the transaction's own writes.
func TestLending(t *testing.T) {
	db := testDB(t)
	random := rand.New(rand.NewPCG(1, 1))
	must(t, db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		for n := range 500 {
			// Some names hold zero bytes, some values are empty.
			name := fmt.Appendf(nil, "%03d%s", n, bytes.Repeat([]byte{0}, n%3))
			if err := b.Put(name, bytes.Repeat([]byte{byte(n)}, random.IntN(200))); err != nil {
				return err
			}
			if n%50 == 0 {
				if _, err := b.CreateBucket(append(name, 'b')); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	compare := func(tx *Tx) error {
		b := tx.Bucket([]byte("b"))
		copying, lending := b.Cursor(), b.LendingCursor()
		k, v := copying.First()
		lk, lv := lending.First()
		for k != nil {
			for range 3 {
				b.Cursor().Seek(k) // takes an iterator
			}
			if !bytes.Equal(k, lk) || !bytes.Equal(v, lv) || (v == nil) != (lv == nil) {
				t.Fatalf("%q %q, lent %q %q", k, v, lk, lv)
			}
			var peeked []byte
			if found := b.Peek(k, func(value []byte) { peeked = append([]byte{}, value...) }); found != (v != nil) || !bytes.Equal(peeked, v) {
				t.Fatalf("%q: peeked %v %q, want %q", k, found, peeked, v)
			}
			if random.IntN(20) == 0 {
				lending.Release()
			}
			k, v = copying.Next()
			lk, lv = lending.Next()
		}
		if lk != nil || b.Peek([]byte("none"), func([]byte) { t.Error("called") }) {
			t.Errorf("%q after the end", lk)
		}
		return nil
	}
	must(t, db.View(compare))
	must(t, db.Update(func(tx *Tx) error {
		if err := tx.Bucket([]byte("b")).Put([]byte("0010"), []byte("new")); err != nil {
			return err
		}
		return compare(tx)
	}))
}
