package index

import "container/list"

// StringsCache keeps the string tables of the shards that are written to, so
// that an add costs the same whatever the shard holds. It is a writer's: not
// for concurrent use, and never seen by reads.
//
// A table is valid for one revision of its shard. Revisions are entry indexes,
// so a table that was cached before a crash, a snapshot or the shard's removal
// can never be taken for that of another content. The bytes of all tables are
// bounded; the least recently used go first.
type StringsCache struct {
	limit  int
	bytes  int
	tables map[string]*list.Element
	recent *list.List // of *cachedTable, the most recently used first
}

type cachedTable struct {
	shard    string
	revision uint64
	strings  *stringTable
	bytes    int
}

// NewStringsCache returns a cache of about so many bytes.
func NewStringsCache(limit int) *StringsCache {
	return &StringsCache{limit: limit, tables: map[string]*list.Element{}, recent: list.New()}
}

// take removes and returns a shard's table, or nil if the cache has none of the
// revision. The caller may change it.
func (c *StringsCache) take(shard string, revision uint64) *stringTable {
	element, ok := c.tables[shard]
	if !ok {
		return nil
	}
	cached := c.remove(element)
	if cached.revision != revision {
		return nil
	}
	return cached.strings
}

// put stores a table, which the caller must not change afterwards.
func (c *StringsCache) put(shard string, revision uint64, strings *stringTable) {
	if element, ok := c.tables[shard]; ok {
		c.remove(element)
	}
	cached := &cachedTable{shard, revision, strings, strings.cost()}
	c.tables[shard] = c.recent.PushFront(cached)
	for c.bytes += cached.bytes; c.bytes > c.limit; {
		c.remove(c.recent.Back())
	}
}

func (c *StringsCache) remove(element *list.Element) *cachedTable {
	cached := c.recent.Remove(element).(*cachedTable)
	delete(c.tables, cached.shard)
	c.bytes -= cached.bytes
	return cached
}

// Clear empties the cache.
func (c *StringsCache) Clear() { *c = *NewStringsCache(c.limit) }

// cost is about what a table takes in memory: each string with its place in
// the list and in the map.
func (t *stringTable) cost() int { return t.bytes + 96*len(t.list) }
