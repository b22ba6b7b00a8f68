package kv

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
)

// TestIsolation moves an amount between accounts while readers add all of them up: every view must
// hold the same sum, and views must not go back in time.
func TestIsolation(t *testing.T) {
	const accounts, moves, readers = 20, 300, 3
	db := testDB(t)
	amount := func(b *Bucket, i int) uint64 {
		return binary.BigEndian.Uint64(b.Get(fmt.Appendf(nil, "%d", i)))
	}
	set := func(b *Bucket, i int, v uint64) error {
		return b.Put(fmt.Appendf(nil, "%d", i), binary.BigEndian.AppendUint64(nil, v))
	}
	update(t, db, func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("accounts"))
		must(t, err)
		for i := range accounts {
			must(t, set(b, i, 100))
		}
		return nil
	})
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := db.View(func(tx *Tx) error {
					if tx.ID() < last {
						return fmt.Errorf("view %d after view %d", tx.ID(), last)
					}
					last = tx.ID()
					sum := uint64(0)
					err := tx.Bucket([]byte("accounts")).ForEach(func(_, v []byte) error {
						sum += binary.BigEndian.Uint64(v)
						return nil
					})
					if sum != accounts*100 {
						return fmt.Errorf("sum %d in view %d", sum, last)
					}
					return err
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for n := range moves {
				from, to := (n*7+w)%accounts, (n*11+w+1)%accounts
				if from == to {
					continue
				}
				if err := db.Update(func(tx *Tx) error {
					b := tx.Bucket([]byte("accounts"))
					have := amount(b, from)
					if have == 0 {
						return nil
					}
					if err := set(b, from, have-1); err != nil {
						return err
					}
					return set(b, to, amount(b, to)+1)
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	wg.Wait()
}
