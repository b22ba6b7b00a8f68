package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// heads never hide a row: whatever is set, deleted and committed between, every
// transaction finds the first row that it would find without them.
func TestHeadsHideNothing(t *testing.T) {
	defer func(sets int) { maxHeadSets = sets }(maxHeadSets)
	maxHeadSets = 3
	for seed := range uint64(30) {
		db := testDB(t)
		random := rand.New(rand.NewPCG(seed, 1))
		next := 1000
		var older []byte // a stream
		must(t, db.Update(func(tx *Tx) error {
			_, err := tx.CreateBucket([]byte("q"))
			return err
		}))
		var readers []*Tx
		var writer *Tx
		writes := func() {
			b := writer.Bucket([]byte("q"))
			prefix := byte('a' + random.IntN(4))
			switch random.IntN(8) {
			case 0: // before all others
				must(t, b.Put(fmt.Appendf(nil, "%c%06d", prefix, random.IntN(next)), nil))
			case 1, 2:
				next++
				must(t, b.Put(fmt.Appendf(nil, "%c%06d", prefix, next), nil))
			case 3:
				if k, _ := b.PrefixCursor([]byte{prefix}).Last(); k != nil {
					must(t, b.Delete(k))
				}
			default:
				c := b.Cursor()
				for k, _ := c.Seek([]byte{prefix}); k != nil && k[0] == prefix && random.IntN(4) > 0; k, _ = c.Next() {
					must(t, c.Delete())
				}
			}
		}
		for step := 0; step < 3000 && !t.Failed(); step++ {
			switch what := random.IntN(10); {
			case what == 0 && len(readers) < 6:
				tx, err := db.Begin(false)
				must(t, err)
				readers = append(readers, tx)
			case what == 1 && len(readers) > 0:
				i := random.IntN(len(readers))
				must(t, readers[i].Rollback())
				readers = append(readers[:i], readers[i+1:]...)
			case what == 2 && writer == nil:
				var err error
				writer, err = db.Begin(true)
				must(t, err)
			case what == 3 && writer != nil:
				if random.IntN(5) == 0 {
					must(t, writer.Rollback())
				} else {
					must(t, writer.Commit())
				}
				writer = nil
			case what < 7 && writer != nil:
				writes()
			case len(readers) > 0:
				sameFirst(t, readers[random.IntN(len(readers))], "abcd"[random.IntN(4)])
			}
			if random.IntN(200) == 0 && writer == nil {
				var stream bytes.Buffer
				must(t, db.View(func(tx *Tx) error { _, err := tx.WriteTo(&stream); return err }))
				if older != nil {
					must(t, db.Restore(bytes.NewReader(older)))
				}
				older = stream.Bytes()
			}
		}
		if writer != nil {
			must(t, writer.Rollback())
		}
		for _, tx := range readers {
			must(t, tx.Rollback())
		}
	}
}

func sameFirst(t *testing.T, tx *Tx, prefix byte) {
	t.Helper()
	b := tx.Bucket([]byte("q"))
	want, _ := b.PrefixCursor([]byte{prefix}).First()
	got, _ := b.HeadCursor([]byte{prefix}).First()
	if !bytes.Equal(got, want) {
		t.Errorf("%c: the first is %q, want %q", prefix, got, want)
	}
}

func TestHeadsBesideAWriter(t *testing.T) {
	db := testDB(t)
	must(t, db.Update(func(tx *Tx) error {
		_, err := tx.CreateBucket([]byte("q"))
		return err
	}))
	var over atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !over.Load() {
				if err := db.View(func(tx *Tx) error { sameFirst(t, tx, 'a'); return nil }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(9, 9))
	for n := range 2000 {
		must(t, db.Update(func(tx *Tx) error {
			b := tx.Bucket([]byte("q"))
			if k, _ := b.Cursor().First(); k != nil {
				if err := b.Delete(k); err != nil {
					return err
				}
			}
			return b.Put(fmt.Appendf(nil, "a%06d", max(0, n-random.IntN(5))), nil)
		}))
	}
	over.Store(true)
	readers.Wait()
}

// What was deleted at the head is stepped over once.
func TestHeadIsFoundAtOnce(t *testing.T) {
	db := testDB(t)
	must(t, db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("q"))
		for n := range 1000 {
			if err == nil {
				err = b.Put(fmt.Appendf(nil, "a%06d", n), nil)
			}
		}
		return err
	}))
	must(t, db.Update(func(tx *Tx) error {
		for n := range 999 {
			if err := tx.Bucket([]byte("q")).Delete(fmt.Appendf(nil, "a%06d", n)); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, floor := range []string{"", "a000999", "a000999"} {
		must(t, db.View(func(tx *Tx) error {
			c := tx.Bucket([]byte("q")).HeadCursor([]byte("a"))
			lower, _ := c.bounds()
			known := db.ns.heads.floor(lower, tx.commits)
			if want := tx.Bucket([]byte("q")).child([]byte(floor), endKey); floor == "" && known != nil || floor != "" && !bytes.Equal(known, want) {
				t.Errorf("the floor is %q, want %q", known, want)
			}
			sameFirst(t, tx, 'a')
			return nil
		}))
	}
}
