package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// Each way in which what a cache holds could be of another state than what a
// reader or the writer sees. The labels of block n are n's; whoever mixes states
// finds other labels, or none.

func labelled(n int) *metastorev1.BlockMeta {
	block := numbered(n)
	block.StringTable[3], block.StringTable[4] = fmt.Sprint("value-", n), fmt.Sprint("host-", n)
	block.MinTime, block.MaxTime = int64(n), int64(n)+1
	block.Datasets[0].MinTime, block.Datasets[0].MaxTime = int64(n), int64(n)+1
	return block
}

func addLabelled(t testing.TB, s *store, entry uint64, numbers ...int) {
	t.Helper()
	s.change(t, func(w *index.Writer) error {
		for _, n := range numbers {
			if _, err := addTo(w, labelled(n), entry); err != nil {
				return err
			}
		}
		return nil
	})
}

// see fails unless a reader of the transaction sees just these blocks, with
// their own labels.
func see(t testing.TB, s *store, tx *kv.Tx, numbers ...int) {
	t.Helper()
	answer, err := index.NewReader(tx, s.cache).Blocks(t.Context(), index.Query{
		Spans: whole(), Tenants: []string{"acme"}, Time: always(), Labels: []string{"svc"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, encoded := range answer.Blocks {
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded.Block); err != nil {
			t.Fatal(err)
		}
		got = append(got, text(block))
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		want = append(want, text(labelled(n)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func view(t testing.TB, s *store) *kv.Tx {
	t.Helper()
	tx, err := s.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	})
	return tx
}

func TestReadersOfOlderStates(t *testing.T) {
	s := newStore(t, 1<<20)
	addLabelled(t, s, 1, 1, 2)
	old := view(t, s)
	addLabelled(t, s, 2, 3)
	see(t, s, view(t, s), 1, 2, 3) // fills the cache with the newer state
	see(t, s, old, 1, 2)

	// The shard is emptied, and its numbers begin anew with other meanings.
	s.change(t, func(w *index.Writer) error {
		for n := 1; n <= 3; n++ {
			if _, _, err := removeFrom(w, labelled(n), 3); err != nil {
				return err
			}
		}
		_, err := addTo(w, labelled(9), 3)
		return err
	})
	see(t, s, view(t, s), 9)
	see(t, s, old, 1, 2)

	// It is dropped, and comes back.
	key := keyOf(labelled(9))
	s.change(t, func(w *index.Writer) error {
		if _, _, err := w.Drop(key); err != nil {
			return err
		}
		_, err := addTo(w, labelled(12), 4)
		return err
	})
	see(t, s, old, 1, 2)
	see(t, s, view(t, s), 12)
}

// Where searches begin is kept, too: blocks that went, nodes that were made and blocks
// that came since are seen by those of the state alone.
func TestFrontiersOfOlderStates(t *testing.T) {
	numbers := func(from, to int) (all []int) {
		for n := from; n < to; n++ {
			all = append(all, n)
		}
		return all
	}
	remove := func(s *store, entry uint64, n int) {
		s.change(t, func(w *index.Writer) error {
			_, _, err := removeFrom(w, labelled(n), entry)
			return err
		})
	}
	s := newStore(t, 1<<20)
	addLabelled(t, s, 1, numbers(0, 10)...)
	ten := view(t, s)
	remove(s, 2, 4)
	nine := view(t, s)
	see(t, s, nine, append(numbers(0, 4), numbers(5, 10)...)...) // first of all
	see(t, s, ten, numbers(0, 10)...)
	see(t, s, nine, append(numbers(0, 4), numbers(5, 10)...)...)

	addLabelled(t, s, 3, numbers(10, 20)...)
	remove(s, 4, 12)
	left := append(numbers(0, 4), append(numbers(5, 12), numbers(13, 20)...)...)
	see(t, s, view(t, s), left...)
	see(t, s, nine, append(numbers(0, 4), numbers(5, 10)...)...)

	addLabelled(t, s, 5, numbers(20, 64)...)
	node := view(t, s)
	addLabelled(t, s, 6, numbers(64, 200)...)
	see(t, s, view(t, s), append(slices.Clone(left), numbers(20, 200)...)...)
	see(t, s, node, append(slices.Clone(left), numbers(20, 64)...)...)
	remove(s, 7, 199)
	left = append(left, numbers(20, 64)...)
	more := append(slices.Clone(left), numbers(64, 199)...)
	see(t, s, view(t, s), more...)
	see(t, s, node, left...)
	see(t, s, ten, numbers(0, 10)...)
	see(t, s, view(t, s), more...)
}

// A search reads the blocks that it finds, and nothing else once the shard is known.
func TestFrontierSparesReads(t *testing.T) {
	s := newStore(t, 1<<20)
	var all []int
	for n := range 200 {
		all = append(all, n)
	}
	addLabelled(t, s, 1, all...)
	for _, test := range []struct {
		selector string
		time     index.Bounds
		tested   uint64
	}{
		{`{svc="value-7"}`, always(), 1},
		{`{svc="value-199"}`, always(), 1},
		{`{}`, index.Bounds{Min: 195, Max: 196}, 3},
		{`{}`, index.Bounds{Min: 300, Max: 400}, 0},
	} {
		for range 2 {
			if c := ask(t, s, "acme", test.selector, test.time).Cost; c.BlocksTested != test.tested {
				t.Errorf("%s in %v cost %v, want %d blocks tested", test.selector, test.time, c, test.tested)
			}
		}
	}
}

// A transaction that fails after it interned strings leaves nothing behind.
func TestAbortedTransaction(t *testing.T) {
	s := newStore(t, 1<<20)
	addLabelled(t, s, 1, 1)
	failure := errors.New("on purpose")
	err := s.Update(func(tx *kv.Tx) error {
		w := index.NewWriter(tx, s.cache)
		if _, err := addTo(w, labelled(2), 2); err != nil {
			return err
		}
		return errors.Join(w.Flush(), failure)
	})
	if !errors.Is(err, failure) {
		t.Fatal(err)
	}
	s.cache.Clear()
	see(t, s, view(t, s), 1)
	addLabelled(t, s, 2, 3)
	see(t, s, view(t, s), 1, 3)
	check(t, s)
}

// A follower gets a newer state from elsewhere, and clears its cache, while readers
// of the old one run on: what it answers, and what it writes on top, is right.
func TestSnapshotUnderWarmCache(t *testing.T) {
	leader, follower := newStore(t, 1<<20), newStore(t, 1<<20)
	for _, s := range []*store{leader, follower} {
		addLabelled(t, s, 1, 1, 2)
		see(t, s, view(t, s), 1, 2)
	}
	addLabelled(t, leader, 2, 3, 4)
	before := view(t, follower)
	install(t, leader, follower)
	see(t, follower, before, 1, 2)
	follower.cache.Clear()
	see(t, follower, before, 1, 2)
	see(t, follower, view(t, follower), 1, 2, 3, 4)
	addLabelled(t, follower, 3, 5)
	see(t, follower, view(t, follower), 1, 2, 3, 4, 5)
	for n := 6; n < 80; n++ { // postings of what came by the snapshot, too
		addLabelled(t, follower, uint64(n), n)
	}
	check(t, follower)
}

// A shard that the cache forgets in the middle of a transaction is written as if it
// had not.
func TestForgottenUnderTheWriter(t *testing.T) {
	var states []string
	for _, limit := range []int{0, 1 << 20} {
		s := newStore(t, limit)
		s.change(t, func(w *index.Writer) error {
			for n := range 3 {
				block := labelled(1) // the same labels again
				block.Id = labelled(n).Id
				if _, err := addTo(w, block, 1); err != nil {
					return err
				}
				if _, _, err := w.OldestLive("", 1); err != nil { // flushes
					return err
				}
			}
			return nil
		})
		check(t, s)
		var state bytes.Buffer
		if err := s.View(func(tx *kv.Tx) error { _, err := tx.WriteTo(&state); return err }); err != nil {
			t.Fatal(err)
		}
		states = append(states, state.String())
	}
	if states[0] != states[1] {
		t.Error("what is stored depends on the cache")
	}
}

// The cache keeps to its bound, and a cache of any size gives the same answers.
func TestCacheBound(t *testing.T) {
	for _, limit := range []int{0, 3000, 1 << 20} {
		cache := index.NewCache(limit)
		a, b := &store{kvtest.DB(t, 1), cache.Group()}, &store{kvtest.DB(t, 1), cache.Group()}
		var numbers []int
		for n := range 30 {
			numbers = append(numbers, n)
			for i, s := range []*store{a, b} {
				// Another shard each time, and one that all share.
				other := labelled(n)
				other.Shard, other.Datasets = uint32(2+n), nil
				s.change(t, func(w *index.Writer) error {
					if _, err := addTo(w, labelled(n), uint64(2*n+i+1)); err != nil {
						return err
					}
					_, err := addTo(w, other, uint64(2*n+i+1))
					return err
				})
				see(t, s, view(t, s), slices.Clone(numbers)...)
			}
			if cache.Bytes() > limit {
				t.Fatalf("%d bytes are cached, the limit is %d", cache.Bytes(), limit)
			}
		}
		a.cache.Clear()
		see(t, a, view(t, a), slices.Clone(numbers)...)
		see(t, b, view(t, b), slices.Clone(numbers)...)
	}
}

// Readers of all states run beside the writer; for the race detector.
func TestReadersBesideTheWriter(t *testing.T) {
	s := newStore(t, 1<<20)
	addLabelled(t, s, 1, 0)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := s.View(func(tx *kv.Tx) error {
					answer, err := index.NewReader(tx, s.cache).Blocks(t.Context(), index.Query{
						Spans: whole(), Tenants: []string{"acme"}, Time: always(), Labels: []string{"svc"},
					})
					for _, encoded := range answer.GetBlocks() {
						block := &metastorev1.BlockMeta{}
						if err := block.UnmarshalVT(encoded.Block); err != nil {
							return err
						}
						var n int
						if _, err := fmt.Sscanf(block.Id[10:], "%d", &n); err != nil || text(block) != text(labelled(n)) {
							t.Errorf("got %s (%v)", text(block), err)
						}
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := 1; n < 200; n++ {
		addLabelled(t, s, uint64(n+1), n)
	}
	close(stop)
	readers.Wait()
}
