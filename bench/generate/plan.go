package generate

import (
	"slices"
	"time"
)

const (
	datasetsMax = 10
	// A late block's profiles are older than the block by so much at most. Pyroscope
	// does not find what is later than a day.
	lateMax = int64(12 * time.Hour / time.Millisecond)
	// The longest block, see the spans of forms.
	spanMax = int64(100 * time.Second / time.Millisecond)
)

// plan is what a block will hold, as numbers: enough to tell whether a query wants it.
type plan struct {
	id       [10]byte // the ULID's entropy
	at       int64    // creation
	min, max int64    // of profiles
	shard    uint32
	level    uint32
	writer   uint64
	count    int
	datasets [datasetsMax]planned
}

// planned is one dataset.
type planned struct {
	tenant, service int
	profiles        profiles
	unsymbolized    bool
	min, max        int64
	size            uint64
}

// At is the creation time of a block, Unix milliseconds; it never falls from one
// index to the next.
func (g *Generator) At(i uint64) int64 {
	if i >= g.settings.Blocks {
		return g.settings.End + int64(i-g.settings.Blocks)
	}
	return g.Begin() + int64(i*g.span/g.settings.Blocks)
}

func (g *Generator) plan(i uint64) plan {
	d := newDraw(g.settings.Seed, i)
	p := plan{at: g.At(i), level: uint32(g.levels.pick(&d))}
	unique := mix(i ^ mix(g.settings.Seed))
	for k := range 8 {
		p.id[k] = byte(unique >> (8 * k))
	}
	p.shard = 1 + uint32(d.below(uint64(g.settings.Shards)))
	p.writer = d.below(writers)
	p.min = p.at
	if d.below(g.form.lateEach) == 0 {
		p.min -= 1 + int64(d.below(uint64(lateMax)))
	}
	p.max = p.min + int64(g.form.span[p.level].pick(&d))
	p.count = 1 + g.datasets[p.level].pick(&d)
	g.assign(&p, &d)
	return p
}

const writers = 8

// assign gives datasets to tenants, each a service that the tenant has once.
func (g *Generator) assign(p *plan, d *draw) {
	var members [datasetsMax]int
	tenants := 1
	if p.level == 0 {
		tenants = min(1+g.members.pick(d), p.count, len(g.names))
	}
	for k := range tenants {
		members[k] = g.another(d, members[:k])
	}
	all := p.datasets[:p.count]
	for k := range all {
		all[k].tenant = members[k%tenants]
		if all[k].service = g.serviceOf.pick(d); g.form.inTurn && k > 0 {
			all[k].service = (all[k-1].service + 1) % len(g.services)
		}
		for slices.ContainsFunc(all[:k], func(o planned) bool { return o.tenant == all[k].tenant && o.service == all[k].service }) {
			all[k].service = (all[k].service + 1) % len(g.services)
		}
		kinds := g.form.profiles[p.level]
		all[k].profiles = kinds[d.below(uint64(len(kinds)))]
		all[k].unsymbolized = d.below(g.form.unsymbolizedEach) == 0
		all[k].size = all[k].profiles.size + d.below(97)
		all[k].min, all[k].max = p.min, p.max
		if length := p.max - p.min; length > 1 {
			all[k].min += int64(d.below(uint64(length / 2)))
			all[k].max -= int64(d.below(uint64(length / 2)))
		}
	}
	slices.SortFunc(all, func(a, b planned) int {
		if a.tenant != b.tenant {
			return a.tenant - b.tenant
		}
		return a.service - b.service
	})
}

// another draws a tenant that is not among those there are.
func (g *Generator) another(d *draw, taken []int) int {
	tenant := g.tenants.pick(d)
	for tries := 0; slices.Contains(taken, tenant); tries++ {
		if tries < 8 {
			tenant = g.tenants.pick(d)
		} else {
			tenant = (tenant + 1) % len(g.names)
		}
	}
	return tenant
}
