package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A prefix cursor shows what a cursor of the bucket shows of these names, from any key on,
// in both directions.
func TestPrefixCursor(t *testing.T) {
	db := testDB(t)
	random := rand.New(rand.NewPCG(3, 3))
	alphabet := []byte{0, 1, 'a', 0xfe, 0xff}
	name := func(longest int) []byte {
		text := make([]byte, 1+random.IntN(longest))
		for i := range text {
			text[i] = alphabet[random.IntN(len(alphabet))]
		}
		return text
	}
	must(t, db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		for range 300 {
			one := name(4)
			if random.IntN(8) == 0 {
				inner, err := b.CreateBucketIfNotExists(one)
				if err == nil {
					err = inner.Put([]byte("inside"), one)
				}
				if err != nil && !errors.Is(err, ErrIncompatibleValue) {
					return err
				}
			} else if err := b.Put(one, one); err != nil && !errors.Is(err, ErrIncompatibleValue) {
				return err
			}
		}
		return nil
	}))
	compare := func(tx *Tx) error {
		b := tx.Bucket([]byte("b"))
		for range 300 {
			prefix, seek := name(3), name(4)
			var want, got, backwards []string
			all := b.Cursor()
			for k, _ := all.Seek(seek); k != nil; k, _ = all.Next() {
				if bytes.HasPrefix(k, prefix) {
					want = append(want, string(k))
				}
			}
			c := b.PrefixCursor(prefix)
			for k, _ := c.Seek(seek); k != nil; k, _ = c.Next() {
				got = append(got, string(k))
				if random.IntN(4) == 0 {
					c.Release()
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("prefix %q from %q: %q, want %q", prefix, seek, got, want)
			}
			for k, _ := c.Last(); k != nil && bytes.Compare(k, seek) >= 0; k, _ = c.Prev() {
				backwards = append(backwards, string(k))
			}
			slices.Reverse(backwards)
			if !slices.Equal(backwards, want) {
				t.Fatalf("prefix %q down to %q: %q, want %q", prefix, seek, backwards, want)
			}
		}
		return nil
	}
	must(t, db.View(compare))
	must(t, db.Update(compare))
}

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
