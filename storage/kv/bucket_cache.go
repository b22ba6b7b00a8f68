package kv

import (
	"bytes"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// bucketCache holds rows of buckets that transactions of a namespace read, so that opening the same
// buckets in every transaction costs no read. Its contents belong to one version of the namespace's
// buckets; a commit that changes any makes the next version, to which it takes over the rows of all
// others.
type bucketCache struct {
	version atomic.Uint64 // odd while a change is being applied

	mu   sync.RWMutex
	of   uint64 // the version the rows belong to
	rows map[string]bucketRow
}

const (
	maxCachedBuckets  = 4096
	maxCachedRowBytes = 1024 // longer row keys are not kept
	noVersion         = 1    // no transaction sees an odd version
)

// change runs fn, which changes rows of buckets for those who begin later.
func (c *bucketCache) change(fn func() error) error {
	c.version.Add(1)
	defer c.version.Add(1)
	return fn()
}

// changeSome is change where it is known which rows fn changes.
func (c *bucketCache) changeSome(rows *bucketChanges, fn func() error) error {
	before := c.version.Load()
	return c.change(func() error {
		err := fn()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.of == before && !rows.all {
			rows.dropFrom(c.rows)
			c.of = before + 2
		}
		return err
	})
}

// during returns the version that what take takes belongs to, noVersion if that is uncertain.
func (c *bucketCache) during(take func()) uint64 {
	before := c.version.Load()
	take()
	if before%2 != 0 || c.version.Load() != before {
		return noVersion
	}
	return before
}

func (c *bucketCache) get(version uint64, key []byte) (row bucketRow, found bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.of != version {
		return bucketRow{}, false
	}
	row, found = c.rows[string(key)]
	return row, found
}

// put keeps a row that was read at a version.
func (c *bucketCache) put(version uint64, key []byte, row bucketRow) {
	if version == noVersion || len(key) > maxCachedRowBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case version < c.of:
		return
	case version > c.of || len(c.rows) >= maxCachedBuckets || c.rows == nil:
		c.of, c.rows = version, map[string]bucketRow{}
	}
	c.rows[string(key)] = row
}

// bucketChanges are the buckets whose rows a transaction wrote or removed.
type bucketChanges struct {
	rows  map[string]struct{}
	spans [][]byte // all rows that begin with one
	all   bool     // more than are worth knowing
}

// maxChangedSpans bounds what each look at the cache costs.
const maxChangedSpans = 64

func (c *bucketChanges) none() bool { return !c.all && len(c.rows) == 0 && len(c.spans) == 0 }

// row notes that a bucket's row changed.
func (c *bucketChanges) row(key []byte) {
	if c.rows == nil {
		c.rows = map[string]struct{}{}
	}
	c.rows[string(key)] = struct{}{}
}

// span notes that a bucket's row changed, and those of all buckets inside.
func (c *bucketChanges) span(prefix []byte) {
	if len(c.spans) == maxChangedSpans {
		c.all = true
		return
	}
	c.spans = append(c.spans, bytes.Clone(prefix))
}

// has tells whether a row may have changed.
func (c *bucketChanges) has(key []byte) bool {
	if _, changed := c.rows[string(key)]; changed || c.all {
		return true
	}
	for _, prefix := range c.spans {
		if bytes.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func (c *bucketChanges) dropFrom(rows map[string]bucketRow) {
	for key := range c.rows {
		delete(rows, key)
	}
	if len(c.spans) == 0 {
		return
	}
	spans := outermost(c.spans)
	for key := range rows {
		behind := sort.Search(len(spans), func(i int) bool { return spans[i] > key })
		if behind > 0 && strings.HasPrefix(key, spans[behind-1]) {
			delete(rows, key)
		}
	}
}

// outermost returns those prefixes that no other is a prefix of, in order. So of a row
// only the last one that does not follow it can be a prefix.
func outermost(prefixes [][]byte) []string {
	sorted := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		sorted[i] = string(prefix)
	}
	slices.Sort(sorted)
	kept := sorted[:1]
	for _, prefix := range sorted[1:] {
		if !strings.HasPrefix(prefix, kept[len(kept)-1]) {
			kept = append(kept, prefix)
		}
	}
	return kept
}
