package dlq

import (
	"math/rand/v2"
	"sync"
	"time"
)

// troubles remembers which entries of a group failed, so that sweeps do not spend
// their time on them. It is bounded: beyond, entries are tried in each sweep.
type troubles struct {
	shortest, longest time.Duration
	now               func() time.Time

	mu    sync.Mutex
	sweep uint64
	rows  map[string]*trouble
}

// trouble is of one entry.
type trouble struct {
	failures  uint32
	notBefore time.Time
	err       string
	// The last sweep that met it.
	met uint64
}

func newTroubles(shortest, longest time.Duration, now func() time.Time) *troubles {
	return &troubles{shortest: shortest, longest: longest, now: now, rows: map[string]*trouble{}}
}

// waits tells whether an entry is to be left alone for now.
func (t *troubles) waits(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := t.rows[name]
	if row == nil {
		return false
	}
	row.met = t.sweep
	return t.now().Before(row.notBefore)
}

// failed notes a failure. Pauses are spread: what failed together is not tried
// together for ever.
func (t *troubles) failed(name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := t.rows[name]
	if row == nil {
		if len(t.rows) >= troublesMax {
			return
		}
		row = &trouble{met: t.sweep}
		t.rows[name] = row
	}
	pause := t.longest
	if doubled := t.shortest << min(row.failures, 20); doubled > 0 {
		pause = min(doubled, t.longest)
	}
	row.failures++
	row.err = shorten(err.Error())
	// The first pause ends before the next sweep does.
	row.notBefore = t.now().Add(time.Duration((0.5 + rand.Float64()/2.1) * float64(pause)))
}

// ended forgets an entry.
func (t *troubles) ended(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rows, name)
}

// swept forgets entries that a whole sweep has not met: others saw to them.
func (t *troubles) swept(whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if whole {
		for name, row := range t.rows {
			if row.met != t.sweep {
				delete(t.rows, name)
			}
		}
	}
	t.sweep++
}

// forgive lets all entries be tried at once.
func (t *troubles) forgive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.rows {
		row.notBefore = time.Time{}
	}
}

// each tells all rows, in no order.
func (t *troubles) each(tell func(name string, row trouble)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, row := range t.rows {
		tell(name, *row)
	}
}

// errorBytesMax bounds the errors that are kept: others word some of them.
const errorBytesMax = 300

func shorten(text string) string {
	if len(text) > errorBytesMax {
		return text[:errorBytesMax] + "…"
	}
	return text
}
