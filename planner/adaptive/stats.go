package adaptive

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
)

// Key is what a rate is of.
type Key struct {
	Tenant, Dataset string
	Shard           uint32
	// Segment-writer that makes the shard's blocks.
	Owner string
}

func (k Key) compare(other Key) int {
	return cmp.Or(strings.Compare(k.Tenant, other.Tenant), strings.Compare(k.Dataset, other.Dataset),
		cmp.Compare(k.Shard, other.Shard), strings.Compare(k.Owner, other.Owner))
}

func (k Key) dataset() dataset { return dataset{k.Tenant, k.Dataset} }

// dataset names a dataset: equal names of two tenants are two.
type dataset struct{ tenant, name string }

func (d dataset) compare(other dataset) int {
	return cmp.Or(strings.Compare(d.tenant, other.tenant), strings.Compare(d.name, other.name))
}

// source tells apart who counts for a key. Each has a rate of its own: theirs are
// asked at different times, and a sample from before another's last would be
// dropped. Rates are linear, so their sum is the rate of the sum.
type source struct {
	by string
	Key
}

type followed struct {
	rate
	updated planner.Time
}

// Statistics follows rates. It is not safe for concurrent use.
type Statistics struct {
	config Config
	rates  map[source]*followed
	// Rates of each tenant.
	tenants    map[string]int
	deviations map[dataset]*rate
	dropped    uint64
}

const (
	// One tenant may have this part of all rates.
	tenantShare = 4
	// A rate without a sample for that long gives way when there are too many.
	givesWay = time.Minute
)

// NewStatistics returns statistics that have seen nothing.
func NewStatistics(config Config) *Statistics {
	return &Statistics{config: config, rates: map[source]*followed{}, tenants: map[string]int{}, deviations: map[dataset]*rate{}}
}

// Len is the number of rates that are followed.
func (s *Statistics) Len() int { return len(s.rates) }

// Dropped counts samples that were left out since there are too many rates.
func (s *Statistics) Dropped() uint64 { return s.dropped }

// Add takes what one who counts saw come between two moments. Shard 0 is none.
func (s *Statistics) Add(by string, key Key, bytes uint64, from, to planner.Time) {
	if key.Shard == 0 || bytes == 0 {
		return
	}
	f := s.follow(source{by, key}, to)
	if f == nil {
		s.dropped++
		return
	}
	// As if all had come at once in the beginning: at the end it has been spread
	// over the whole time.
	f.add(float64(bytes), from, s.config.Window)
}

// follow returns the rate of a source, nil if there is no room.
func (s *Statistics) follow(of source, now planner.Time) *followed {
	f := s.rates[of]
	if f == nil {
		if len(s.rates) >= s.config.MaxRates || s.tenants[of.Tenant] > s.config.MaxRates/tenantShare {
			return nil
		}
		f = &followed{}
		s.rates[of] = f
		s.tenants[of.Tenant]++
	}
	f.updated = max(f.updated, now)
	return f
}

// Resume begins with what another made: rates stand still from when it made them
// until now, since nobody saw what came. Statistics that are too old say nothing.
// What is damaged is left out.
func (s *Statistics) Resume(stats *adaptiveplacement.DistributionStats, now planner.Time) {
	created := min(planner.Time(stats.GetCreatedAt()), now)
	if now.Sub(created) > s.config.StatsRetention {
		return
	}
	for _, d := range stats.GetDatasets() {
		if int(d.GetTenant()) >= len(stats.GetTenants()) || len(d.GetShards()) != len(d.GetUsage()) {
			continue
		}
		name := dataset{stats.GetTenants()[d.GetTenant()].GetTenantId(), d.GetName()}
		for i, at := range d.GetShards() {
			if int(at) >= len(stats.GetShards()) {
				continue
			}
			shard := stats.GetShards()[at]
			if shard.GetId() == 0 || d.GetUsage()[i] == 0 {
				continue
			}
			of := source{"", Key{name.tenant, name.name, shard.GetId(), shard.GetOwner()}}
			if f := s.follow(of, now); f != nil {
				f.rate = rate{last: now, mean: float64(d.GetUsage()[i])}
			}
		}
		s.deviations[name] = &rate{last: now, mean: float64(d.GetStdDev())}
	}
}

// Built are statistics as they are published, with the true standard deviation of
// each dataset's usages beside them.
type Built struct {
	*adaptiveplacement.DistributionStats
	Deviations []float64
}

// Build forgets rates that have got no sample for too long, and makes statistics of
// the others.
func (s *Statistics) Build(now, created planner.Time) Built {
	retention := s.config.StatsRetention
	if len(s.rates) >= s.config.MaxRates {
		retention = min(retention, givesWay)
	}
	sums := map[Key]float64{}
	for of, f := range s.rates {
		if now.Sub(f.updated) > retention {
			delete(s.rates, of)
			if s.tenants[of.Tenant]--; s.tenants[of.Tenant] == 0 {
				delete(s.tenants, of.Tenant)
			}
			continue
		}
		sums[of.Key] += f.at(now, s.config.Window)
	}
	keys := make([]Key, 0, len(sums))
	for key := range sums {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, Key.compare)

	b := &builder{stats: &adaptiveplacement.DistributionStats{CreatedAt: int64(created)}, shards: map[owned]uint32{}}
	built := Built{DistributionStats: b.stats}
	alive := make(map[dataset]*rate, len(s.deviations))
	for len(keys) > 0 {
		name := keys[0].dataset()
		n := 1
		for n < len(keys) && keys[n].dataset() == name {
			n++
		}
		d, usages := b.dataset(keys[:n], sums)
		sigma := deviation(usages)
		d.StdDev = whole(sigma)
		if s.config.Deviation == AsPyroscope {
			r := cmp.Or(s.deviations[name], &rate{})
			r.add(sigma, now, s.config.Window)
			d.StdDev = whole(r.at(now, s.config.Window))
			alive[name] = r
		}
		built.Deviations = append(built.Deviations, sigma)
		keys = keys[n:]
	}
	s.deviations = alive
	return built
}

// builder puts names into tables.
type builder struct {
	stats  *adaptiveplacement.DistributionStats
	shards map[owned]uint32
}

type owned struct {
	id    uint32
	owner string
}

// dataset adds the dataset of some keys, and returns it with its usages.
func (b *builder) dataset(keys []Key, sums map[Key]float64) (*adaptiveplacement.DatasetStats, []float64) {
	tenant := keys[0].Tenant
	if n := len(b.stats.Tenants); n == 0 || b.stats.Tenants[n-1].GetTenantId() != tenant {
		b.stats.Tenants = append(b.stats.Tenants, &adaptiveplacement.TenantStats{TenantId: tenant})
	}
	d := &adaptiveplacement.DatasetStats{Tenant: uint32(len(b.stats.Tenants) - 1), Name: keys[0].Dataset}
	usages := make([]float64, 0, len(keys))
	for _, key := range keys {
		shard := owned{key.Shard, key.Owner}
		at, known := b.shards[shard]
		if !known {
			at = uint32(len(b.stats.Shards))
			b.shards[shard] = at
			b.stats.Shards = append(b.stats.Shards, &adaptiveplacement.ShardStats{Id: shard.id, Owner: shard.owner})
		}
		usage := whole(sums[key])
		d.Shards, d.Usage, usages = append(d.Shards, at), append(d.Usage, usage), append(usages, float64(usage))
	}
	b.stats.Datasets = append(b.stats.Datasets, d)
	return d, usages
}

func whole(v float64) uint64 {
	switch {
	case !(v > 0):
		return 0
	case v >= math.MaxInt64:
		return math.MaxInt64
	}
	return uint64(math.Round(v))
}
