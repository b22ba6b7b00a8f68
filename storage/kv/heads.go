package kv

import (
	"bytes"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// heads knows where the first rows of queues are, for a namespace. Who takes from the head of a
// queue leaves deleted rows there, and to step over these costs as much as over others, as long as
// the store keeps them: a walk from the start would pass all of them every time. So what a
// HeadCursor found is remembered: in states that are no older than the one it saw, no row lies
// before the one that it came to, but those that were set since.
type heads struct {
	// Commits that whoever begins now sees. A commit counts as begun before anybody may see it.
	applied atomic.Uint64

	mu    sync.Mutex
	begun uint64
	list  atomic.Pointer[[]*head] // by their lower bounds; they do not overlap
}

// head is the first row in [lower, upper), which never change.
type head struct {
	lower, upper []byte

	// No row lies in [lower, floor) in states with all commits up to since; nil if nothing is known.
	floor []byte
	since uint64
	// The least rows that commits after known set here, those that matter: one that a later commit
	// undercut does not. So both commits and rows ascend.
	sets  []headSet
	known uint64
}

type headSet struct {
	commit uint64
	row    []byte
}

// maxHeads bounds what is remembered; beyond it all is forgotten.
const maxHeads = 256

// maxHeadSets is how many commits a walk may last, at least, for what it found to be remembered.
// A test has fewer.
var maxHeadSets = 64

// all returns the heads there are.
func (h *heads) all() []*head {
	if list := h.list.Load(); list != nil {
		return *list
	}
	return nil
}

// place returns where the last head is that does not begin behind a row, -1 if there is none.
func place(list []*head, row []byte) int {
	return sort.Search(len(list), func(i int) bool { return bytes.Compare(list[i].lower, row) > 0 }) - 1
}

// holding returns the place of the head that a row lies in, -1 if it lies in none.
func holding(list []*head, row []byte) int {
	if i := place(list, row); i >= 0 && bytes.Compare(row, list[i].upper) < 0 {
		return i
	}
	return -1
}

// floor returns a row that none lies before, for who sees at least the commits up to at; nil if
// none is known.
func (h *heads) floor(lower []byte, at uint64) []byte {
	list := h.all()
	i := place(list, lower)
	if i < 0 || !bytes.Equal(list[i].lower, lower) {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if one := list[i]; one.since <= at {
		return one.floor
	}
	return nil
}

// found remembers that who sees at least the commits up to at came to a row from the lower bound.
func (h *heads) found(lower, upper, row []byte, at uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.remember(lower, upper)
	if one == nil || at < one.known {
		return
	}
	for _, set := range one.sets {
		if set.commit > at {
			if bytes.Compare(set.row, row) < 0 {
				row = set.row
			}
			break
		}
	}
	if one.floor == nil || bytes.Compare(one.floor, row) < 0 {
		one.floor, one.since = bytes.Clone(row), h.begun
	}
}

// remember returns the head of bounds, a new one if there is none; nil if it would overlap another.
func (h *heads) remember(lower, upper []byte) *head {
	list := h.all()
	i := place(list, lower)
	if i >= 0 && bytes.Equal(list[i].lower, lower) && bytes.Equal(list[i].upper, upper) {
		return list[i]
	}
	if i >= 0 && bytes.Compare(lower, list[i].upper) < 0 || i+1 < len(list) && bytes.Compare(list[i+1].lower, upper) < 0 {
		return nil
	}
	one := &head{lower: bytes.Clone(lower), upper: bytes.Clone(upper), known: h.begun}
	if len(list) >= maxHeads {
		list, i = nil, -1
	}
	list = slices.Insert(slices.Clone(list), i+1, one)
	h.list.Store(&list)
	return one
}

// commit runs fn, which makes a transaction's writes visible.
func (h *heads) commit(w *headWrites, fn func() error) error {
	h.mu.Lock()
	h.begun++
	for i, one := range h.all() {
		if row := w.least(i, one); row != nil {
			one.set(h.begun, row)
		}
	}
	h.mu.Unlock()
	defer h.applied.Add(1)
	return fn()
}

// set notes the least row that a commit sets.
func (one *head) set(commit uint64, row []byte) {
	for n := len(one.sets); n > 0 && bytes.Compare(one.sets[n-1].row, row) >= 0; n-- {
		one.sets = one.sets[:n-1]
	}
	if len(one.sets) == maxHeadSets {
		one.known = one.sets[0].commit
		one.sets = slices.Delete(one.sets, 0, 1)
	}
	one.sets = append(one.sets, headSet{commit, row})
	if one.floor != nil && bytes.Compare(row, one.floor) < 0 {
		one.floor = row
	}
}

// forget runs fn, which replaces all rows.
func (h *heads) forget(fn func() error) error {
	h.mu.Lock()
	h.begun++
	h.list.Store(nil)
	h.mu.Unlock()
	defer h.applied.Add(1)
	return fn()
}

// headWrites are the least rows that a transaction set, by the heads there were when it began.
type headWrites struct {
	list []*head
	rows [][]byte
}

func (w *headWrites) begin(list []*head) { w.list, w.rows = list, make([][]byte, len(list)) }

// set notes a row.
func (w *headWrites) set(row []byte) {
	i := holding(w.list, row)
	if i >= 0 && (w.rows[i] == nil || bytes.Compare(row, w.rows[i]) < 0) {
		w.rows[i] = append(w.rows[i][:0], row...)
	}
}

// least returns the least row that was set in a head, which is likely the i-th, nil for none. Of one
// that is younger than the transaction it knows nothing: any may have been.
func (w *headWrites) least(i int, one *head) []byte {
	if i >= len(w.list) || w.list[i] != one {
		if i = place(w.list, one.lower); i < 0 || w.list[i] != one {
			return one.lower
		}
	}
	return w.rows[i]
}
