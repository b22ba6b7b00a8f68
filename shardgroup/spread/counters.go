package spread

import (
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"

	"github.com/skerrydb/skerry/planner/adaptive"
)

const (
	// Counters of a process, and of one tenant of them: some 30 MB, without names.
	maxCounters       = 100_000
	maxTenantCounters = maxCounters / 4
	// Bytes of one counter's names, and of all. Pyroscope's own are shorter than 1 KiB.
	maxNameBytes, maxNamesBytes = 2 << 10, 32 << 20
	// A counter that nothing came to for that long is forgotten; sooner if there
	// are too many.
	forgetAfter, giveWayAfter = 15 * time.Minute, time.Minute
	// Full, the idle ones are looked for no more often.
	sweepPause = 10 * time.Second
	// Older segments say nothing about now: somebody restores them, or a clock is wrong.
	oldAfter = 5 * time.Minute
	// Counters of one page, and bytes of them as far as one has not more.
	pageCounters, pageBytes = 10_000, 2 << 20
)

// Counters count what a process adds newly. Methods may be called concurrently; nil
// counts nothing.
type Counters struct {
	process string
	began   time.Time
	now     func() time.Time
	metrics *Metrics
	// Bounds; tests have smaller ones.
	max, maxTenant int

	mu       sync.Mutex
	counters map[adaptive.Key]*counter
	// By number.
	order   []*counter
	tenants map[string]int
	names   int // bytes
	numbers uint64
	swept   time.Time
}

type counter struct {
	adaptive.Key
	number  uint64
	bytes   uint64
	touched time.Time
}

// NewCounters counts for a process; its id must be new with each start.
func NewCounters(process string, now func() time.Time, metrics *Metrics) *Counters {
	return &Counters{
		process: process, began: now(), now: now, metrics: metrics, max: maxCounters, maxTenant: maxTenantCounters,
		counters: map[adaptive.Key]*counter{}, tenants: map[string]int{},
	}
}

// Sample is what counts of a block. It holds no more of it: blocks wait in queues that
// are bounded in what is encoded.
type Sample struct {
	shard    uint32
	owner    string
	datasets []sampled
}

type sampled struct {
	tenant, name string
	bytes        uint64
}

// Sample returns what counts of a block once it was added newly, nil for nothing.
// Segments count only: compacted blocks come from no distributor.
func (c *Counters) Sample(block *metastorev1.BlockMeta) *Sample {
	if c == nil || block.GetCompactionLevel() != 0 || block.GetShard() == 0 {
		return nil
	}
	id, err := ulid.Parse(block.GetId())
	if err != nil || c.now().Sub(id.Timestamp()) > oldAfter {
		c.metrics.dropped.WithLabelValues("old").Inc()
		return nil
	}
	s := &Sample{shard: block.GetShard(), owner: block.StringAt(block.GetCreatedBy()), datasets: make([]sampled, 0, len(block.GetDatasets()))}
	for _, dataset := range block.GetDatasets() {
		tenant := block.StringAt(dataset.GetTenant())
		// Indexes of a tenant's datasets are no datasets.
		if tenant != "" && dataset.GetFormat() == 0 && dataset.GetSize() != 0 {
			s.datasets = append(s.datasets, sampled{tenant, block.StringAt(dataset.GetName()), dataset.GetSize()})
		}
	}
	return s
}

// Count takes a sample of a block that was added newly; nil is none.
func (c *Counters) Count(s *Sample) {
	if c == nil || s == nil {
		return
	}
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range s.datasets {
		key := adaptive.Key{Tenant: d.tenant, Dataset: d.name, Shard: s.shard, Owner: s.owner}
		counter := c.counters[key]
		if counter == nil {
			if counter = c.begin(key, now); counter == nil {
				c.metrics.dropped.WithLabelValues("counter").Inc()
				continue
			}
		}
		counter.bytes, counter.touched = grown(counter.bytes, d.bytes), now
	}
}

// grown does not wrap around.
func grown(sum, more uint64) uint64 {
	if more > math.MaxUint64-sum {
		return math.MaxUint64
	}
	return sum + more
}

// begin makes a counter, or returns nil if there is no room.
func (c *Counters) begin(key adaptive.Key, now time.Time) *counter {
	if nameBytes(key) > maxNameBytes {
		return nil
	}
	if !c.room(key) && now.Sub(c.swept) >= sweepPause {
		c.sweep(now, giveWayAfter)
	}
	if !c.room(key) {
		return nil
	}
	// They may be a part of all that a block says.
	key.Tenant, key.Dataset, key.Owner = strings.Clone(key.Tenant), strings.Clone(key.Dataset), strings.Clone(key.Owner)
	c.numbers++
	c.names += nameBytes(key)
	made := &counter{Key: key, number: c.numbers}
	c.counters[key], c.order = made, append(c.order, made)
	c.tenants[key.Tenant]++
	return made
}

func nameBytes(key adaptive.Key) int { return len(key.Tenant) + len(key.Dataset) + len(key.Owner) }

func (c *Counters) room(key adaptive.Key) bool {
	return len(c.order) < c.max && c.tenants[key.Tenant] < c.maxTenant && c.names+nameBytes(key) <= maxNamesBytes
}

// sweep forgets counters that nothing came to for some time.
func (c *Counters) sweep(now time.Time, idle time.Duration) {
	c.swept = now
	c.order = slices.DeleteFunc(c.order, func(old *counter) bool {
		if now.Sub(old.touched) <= idle {
			return false
		}
		delete(c.counters, old.Key)
		c.names -= nameBytes(old.Key)
		if c.tenants[old.Tenant]--; c.tenants[old.Tenant] == 0 {
			delete(c.tenants, old.Tenant)
		}
		return true
	})
}

// Page answers a manager. The first page forgets what nothing comes to any more.
func (c *Counters) Page(request *nodev1.PlacementSamplesRequest) *nodev1.PlacementSamplesResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if request.GetAfter() == 0 {
		c.sweep(now, forgetAfter)
	}
	response := &nodev1.PlacementSamplesResponse{ProcessId: c.process, CountingFor: int64(now.Sub(c.began))}
	limit := pageCounters
	if asked := int(request.GetLimit()); asked > 0 {
		limit = min(limit, asked)
	}
	first := sort.Search(len(c.order), func(i int) bool { return c.order[i].number > request.GetAfter() })
	bytes := 0
	for _, counter := range c.order[first:] {
		if len(response.Counters) >= limit || bytes >= pageBytes {
			response.More = true
			break
		}
		sample := &nodev1.PlacementCounter{
			Number: counter.number, Tenant: counter.Tenant, Dataset: counter.Dataset, Shard: counter.Shard, Owner: counter.Owner, Bytes: counter.bytes,
		}
		bytes += sample.SizeVT()
		response.Counters = append(response.Counters, sample)
	}
	return response
}

// Len is the number of counters.
func (c *Counters) Len() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.order)
}
