package index_test

import (
	"math/rand/v2"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/statemachine/index"
)

// A block that is there is not added again, however many came since, also by a
// writer that knows nothing; one that was removed is.
func TestAddedOnce(t *testing.T) {
	s := newStore(t, 1<<20)
	random := rand.New(rand.NewPCG(1, 1))
	const blocks = 1500
	order := random.Perm(blocks)
	try := func(n int, want bool) {
		t.Helper()
		s.change(t, func(w *index.Writer) error {
			added, err := addTo(w, numbered(n), uint64(n+1))
			if added != want {
				t.Fatalf("block %d was added: %v", n, added)
			}
			return err
		})
	}
	for i, n := range order {
		try(n, true)
		try(order[random.IntN(i+1)], false)
		if random.IntN(200) == 0 {
			s.cache.Clear()
		}
	}
	for range 50 {
		n := random.IntN(blocks)
		block := numbered(n)
		s.change(t, func(w *index.Writer) error {
			_, existed, err := w.Remove(keyOf(block), ulid.MustParse(block.GetId()), 1)
			if !existed {
				t.Errorf("block %d is gone", n)
			}
			return err
		})
		try(n, true)
		try(n, false)
	}
	check(t, s)
}
