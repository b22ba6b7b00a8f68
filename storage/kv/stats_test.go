package kv

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestForEach(t *testing.T) {
	db := testDB(t)
	plant(t, db)
	stop := errors.New("enough")
	must(t, db.View(func(tx *Tx) error {
		var got []string
		must(t, tx.ForEach(func(name []byte, b *Bucket) error {
			got = append(got, fmt.Sprintf("%q %t", name, b.Tx() == tx))
			return nil
		}))
		if fmt.Sprint(got) != `["a\x00" true "empty" true]` {
			t.Errorf("root holds %v", got)
		}
		got = nil
		a := tx.Bucket([]byte("a\x00"))
		must(t, a.ForEachBucket(func(k []byte) error { got = append(got, string(k)); return nil }))
		if fmt.Sprintf("%q", got) != `["k\x00in"]` {
			t.Errorf("buckets %q", got)
		}
		calls := 0
		if err := a.ForEach(func(_, _ []byte) error { calls++; return stop }); err != stop || calls != 1 {
			t.Errorf("stopped with %v after %d calls", err, calls)
		}
		if s := a.Stats(); s.KeyN != 4 || s.BucketN != 2 {
			t.Errorf("stats %+v", s)
		}
		return nil
	}))
}

func TestStatsArithmetic(t *testing.T) {
	var s TxStats
	if s.IncWrite(3) != 3 || s.IncWrite(4) != 7 || s.GetWrite() != 7 {
		t.Errorf("write count %d", s.Write)
	}
	if s.IncSpillTime(time.Second) != time.Second || s.GetSpillTime() != time.Second {
		t.Errorf("spill time %s", s.SpillTime)
	}
	if d := s.Sub(&TxStats{Write: 2}); d != (TxStats{Write: 5, SpillTime: time.Second}) {
		t.Errorf("difference %+v", d)
	}
	now := Stats{TxN: 10, OpenTxN: 3, FreeAlloc: 4, TxStats: s}
	if d := now.Sub(&Stats{TxN: 4, OpenTxN: 1, FreeAlloc: 1}); d != (Stats{TxN: 6, FreeAlloc: 4, TxStats: s}) {
		t.Errorf("difference %+v", d)
	}
	if now.Sub(nil) != now {
		t.Error("less nothing is something else")
	}
	b := BucketStats{KeyN: 1, Depth: 3, BucketN: 1}
	b.Add(BucketStats{KeyN: 2, Depth: 2, BucketN: 4})
	if b != (BucketStats{KeyN: 3, Depth: 3, BucketN: 5}) {
		t.Errorf("sum %+v", b)
	}
}
