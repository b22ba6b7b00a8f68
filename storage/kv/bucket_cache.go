package kv

import (
	"sync"
	"sync/atomic"
)

// bucketCache holds rows of buckets that transactions of a namespace read, so that opening the same
// buckets in every transaction costs no read. Its contents belong to one version of the namespace's
// buckets; a commit that changes any makes the next version.
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
