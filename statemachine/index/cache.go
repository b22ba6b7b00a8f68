package index

import (
	"container/list"
	"sync"
)

// Cache keeps the dictionaries of index shards in memory, for all groups of a
// node, so that neither adds nor queries read them again. The bytes of all are
// bounded; the least recently used go first. Safe for concurrent use.
//
// What only writers need has a part of these bytes: shards are written to for some
// hours, and read for weeks.
//
// A dictionary is found by its shard and by the shard's beginning
// (Record.Born), and is extended to the record of whoever uses it. So what was
// cached before a restart of the shard's numbering, a snapshot, or the shard's
// removal is never taken for anything else.
type Cache struct {
	limit int

	mu sync.Mutex
	// Of dictionaries, and of what writers left.
	bytes, writerBytes int
	groups             uint64
	cached             map[cacheKey]*list.Element
	// Of *cachedShard, the most recently used first: all, and those that a writer left.
	recent, writers *list.List
}

// writersPart is the part of the bytes that writers may have.
const writersPart = 4

type cacheKey struct {
	group uint64
	shard string
}

type cachedShard struct {
	key        cacheKey
	dictionary *dictionary
	bytes      int
	// What the group's writer knows about the shard, nil for nothing, what it
	// and the writer's part of the dictionary take, and its place in writers;
	// readers do not look at it.
	writing     *writing
	writerBytes int
	left        *list.Element
}

// NewCache returns a cache of about so many bytes.
func NewCache(limit int) *Cache {
	return &Cache{limit: limit, cached: map[cacheKey]*list.Element{}, recent: list.New(), writers: list.New()}
}

// Group returns a part of the cache for one more group.
func (c *Cache) Group() *GroupCache {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups++
	return &GroupCache{c, c.groups}
}

// Bytes returns about how much memory the cache takes.
func (c *Cache) Bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes + c.writerBytes
}

// GroupCache is one group's part of a Cache.
type GroupCache struct {
	cache *Cache
	group uint64
}

// dictionary returns the shard's dictionary of a beginning, a new one if there
// is none.
func (g *GroupCache) dictionary(shard string, born uint64) *dictionary {
	c := g.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{g.group, shard}
	if element, ok := c.cached[key]; ok {
		if known := element.Value.(*cachedShard); known.dictionary.born == born {
			c.recent.MoveToFront(element)
			return known.dictionary
		} else if known.dictionary.born > born {
			// A reader of an older state: the newer one stays.
			return newDictionary(born)
		}
	}
	d := newDictionary(born)
	cost, _ := d.cost()
	c.put(&cachedShard{key: key, dictionary: d, bytes: cost})
	return d
}

// grown tells the cache that a dictionary that it gave out was extended.
func (g *GroupCache) grown(shard string, d *dictionary) {
	c := g.cache
	cost, _ := d.cost()
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.cached[cacheKey{g.group, shard}]; ok {
		if known := element.Value.(*cachedShard); known.dictionary == d {
			c.bytes += cost - known.bytes
			known.bytes = cost
			c.shrink()
		}
	}
}

// take returns what the writer left of a shard that is stored, with the
// dictionary that belongs to it. Nobody else changes the store, so it is as the
// writer left it.
func (g *GroupCache) take(shard string) (*dictionary, *writing) {
	c := g.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.cached[cacheKey{g.group, shard}]
	if !ok {
		return nil, nil
	}
	known := element.Value.(*cachedShard)
	left := c.forgetWriter(known)
	if left == nil || known.dictionary.born != left.record.Born {
		return nil, nil
	}
	return known.dictionary, left
}

// leave is take's counterpart, at the end of a transaction.
func (g *GroupCache) leave(shard string, d *dictionary, w *writing) {
	cost, writers := d.cost()
	c := g.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(&cachedShard{key: cacheKey{g.group, shard}, dictionary: d, bytes: cost, writing: w, writerBytes: writers + w.cost()})
}

func (c *Cache) put(shard *cachedShard) {
	if element, ok := c.cached[shard.key]; ok {
		c.remove(element)
	}
	c.cached[shard.key] = c.recent.PushFront(shard)
	c.bytes += shard.bytes
	if shard.writing != nil {
		shard.left = c.writers.PushFront(shard)
		c.writerBytes += shard.writerBytes
	}
	c.shrink()
}

func (c *Cache) shrink() {
	for c.writerBytes > c.limit/writersPart && c.writers.Len() > 0 {
		oldest := c.writers.Back().Value.(*cachedShard)
		c.forgetWriter(oldest)
		oldest.dictionary.shed()
	}
	for c.bytes+c.writerBytes > c.limit && c.recent.Len() > 0 {
		c.remove(c.recent.Back())
	}
}

// forgetWriter takes what the writer left of a shard away, and returns it.
func (c *Cache) forgetWriter(shard *cachedShard) *writing {
	w := shard.writing
	if w != nil {
		c.writers.Remove(shard.left)
		c.writerBytes -= shard.writerBytes
		shard.writing, shard.left = nil, nil
	}
	return w
}

func (c *Cache) remove(element *list.Element) {
	shard := c.recent.Remove(element).(*cachedShard)
	c.forgetWriter(shard)
	delete(c.cached, shard.key)
	c.bytes -= shard.bytes
}

// Clear forgets the group's shards: after a transaction that did not commit,
// and when the group's state was replaced.
func (g *GroupCache) Clear() {
	c := g.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	for element := c.recent.Front(); element != nil; {
		next := element.Next()
		if element.Value.(*cachedShard).key.group == g.group {
			c.remove(element)
		}
		element = next
	}
}
