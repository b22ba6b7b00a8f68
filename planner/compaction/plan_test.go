package compaction

import (
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/planner"
)

func TestConfig(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Levels: []Level{{0, -1}}, SpanMax: -1, TombstoneDelay: -1, TombstonesMax: -1, JobsMax: -1}.Validate()
	if err == nil || strings.Count(err.Error(), "\n") != 6 {
		t.Errorf("not every fault is reported: %v", err)
	}
	if (Config{}).Validate() == nil {
		t.Error("no levels pass")
	}
}

var errBroken = errors.New("broken")

// broken fails at its n-th read, and else has one of everything.
type broken struct{ n int }

func (b *broken) fails() bool { b.n--; return b.n < 0 }

func rows[T any](b *broken, row T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if b.fails() {
			yield(row, errBroken)
			return
		}
		yield(row, nil)
	}
}

func (b *broken) OldestKeys(level uint32) iter.Seq2[Key, error] {
	return rows(b, Key{Level: level, Oldest: 1, Blocks: 1})
}

func (b *broken) FullKeys(level uint32, _ int, from planner.Time) iter.Seq2[Key, error] {
	return rows(b, Key{Level: level, Oldest: from, Blocks: 1, Tenant: "full"})
}

func (b *broken) Blocks(uint32, string, uint32, Place) iter.Seq2[Place, error] {
	return rows(b, Place{At: 1, ID: "01JGJFGR480000000000000000"})
}

func (b *broken) Returned(level uint32) iter.Seq2[Batch, error] {
	return rows(b, Batch{Level: level, Blocks: []string{"01JGJFGR48040G2081040G2081"}})
}

func (b *broken) OutboxFull(uint32) (bool, error) {
	if b.fails() {
		return false, errBroken
	}
	return false, nil
}

func (b *broken) Tombstones() iter.Seq2[Tombstone, error] { return rows(b, Tombstone{Name: "t"}) }

// TestReadErrors demands that no read error is taken for the end of a list: half a
// plan would look like one.
func TestReadErrors(t *testing.T) {
	for n := range 100 {
		plan, err := Make(&broken{n: n}, Defaults(), planner.Never-1, 100)
		if err == nil {
			if n < 15 {
				t.Fatalf("only %d reads", n)
			}
			return
		}
		if !errors.Is(err, errBroken) || plan.Jobs != nil {
			t.Fatalf("read %d failed: %v, %v", n, plan, err)
		}
	}
	t.Fatal("never succeeded")
}

// TestDamagedIDs demands that a queued block whose id says no time is an error.
func TestDamagedIDs(t *testing.T) {
	var s span
	if _, err := s.extend("nonsense", 1); err == nil {
		t.Error("no error")
	}
}
