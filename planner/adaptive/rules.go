package adaptive

import (
	"cmp"
	"slices"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
)

// Ruler makes rules of statistics, again and again. It is not safe for concurrent
// use.
type Ruler struct {
	config   Config
	datasets map[dataset]*ruled
	dropped  uint64
}

// ruled is what is remembered of a dataset.
type ruled struct {
	allocation
	// When statistics last had it.
	updated planner.Time
	// As it was decided last, or by another before.
	tenantShards, datasetShards uint64
	balancing                   adaptiveplacement.LoadBalancing
}

// NewRuler goes on with rules that were made before, nil for none: their numbers of
// shards are kept for a decay window from when they were made, at least. They begin to
// expire now: nobody could renew them before. What is damaged is left out.
func NewRuler(config Config, before *adaptiveplacement.PlacementRules, now planner.Time) *Ruler {
	r := &Ruler{config: config, datasets: map[dataset]*ruled{}}
	created := min(planner.Time(before.GetCreatedAt()), now)
	for _, rule := range before.GetDatasets() {
		if int(rule.GetTenant()) >= len(before.GetTenants()) || len(r.datasets) >= config.MaxRules {
			continue
		}
		r.datasets[dataset{before.GetTenants()[rule.GetTenant()].GetTenantId(), rule.GetName()}] = &ruled{
			allocation: resume(rule.GetDatasetShardLimit(), created), updated: now,
			tenantShards: rule.GetTenantShardLimit(), datasetShards: rule.GetDatasetShardLimit(), balancing: rule.GetLoadBalancing(),
		}
	}
	return r
}

// Dropped counts rules that were left out since there are too many.
func (r *Ruler) Dropped() uint64 { return r.dropped }

// Build makes rules of statistics. Datasets that these do not have any more keep
// theirs until they expire.
func (r *Ruler) Build(stats *adaptiveplacement.DistributionStats, now planner.Time, limits func(tenant string) Limits) *adaptiveplacement.PlacementRules {
	for name, d := range r.datasets {
		if now.Sub(d.updated) > r.config.RulesRetention {
			delete(r.datasets, name)
		}
	}
	b := &rulesBuilder{rules: &adaptiveplacement.PlacementRules{CreatedAt: stats.GetCreatedAt()}, tenants: map[string]uint32{}}
	// Who has a rule keeps it, however many come.
	fresh := r.config.MaxRules
	for _, d := range stats.GetDatasets() {
		if r.datasets[nameOf(stats, d)] != nil {
			fresh--
		}
	}
	seen := map[dataset]bool{}
	for _, d := range stats.GetDatasets() {
		name := nameOf(stats, d)
		own := r.datasets[name]
		if own == nil {
			if fresh == 0 {
				r.dropped++
				continue
			}
			fresh--
			own = &ruled{}
			r.datasets[name] = own
		}
		seen[name] = true
		own.decide(d, now, limits(name.tenant))
		b.add(name, own)
	}
	for _, name := range r.absent(seen) {
		b.add(name, r.datasets[name])
	}
	return b.rules
}

func nameOf(stats *adaptiveplacement.DistributionStats, d *adaptiveplacement.DatasetStats) dataset {
	return dataset{stats.GetTenants()[d.GetTenant()].GetTenantId(), d.GetName()}
}

func (d *ruled) decide(stats *adaptiveplacement.DatasetStats, now planner.Time, limits Limits) {
	d.updated = now
	d.tenantShards = limits.TenantShards
	d.datasetShards = d.observe(total(stats.GetUsage()), now, limits)
	d.balancing = balance(d.balancing, stats, d.datasetShards, limits)
}

// absent returns the datasets that statistics do not have, sorted. If there are too
// many, the longest absent go.
func (r *Ruler) absent(seen map[dataset]bool) []dataset {
	var names []dataset
	for name := range r.datasets {
		if !seen[name] {
			names = append(names, name)
		}
	}
	if room := r.config.MaxRules - len(seen); len(names) > room {
		slices.SortFunc(names, func(a, b dataset) int {
			return cmp.Or(cmp.Compare(r.datasets[b].updated, r.datasets[a].updated), a.compare(b))
		})
		for _, name := range names[room:] {
			delete(r.datasets, name)
			r.dropped++
		}
		names = names[:room]
	}
	slices.SortFunc(names, dataset.compare)
	return names
}

type rulesBuilder struct {
	rules   *adaptiveplacement.PlacementRules
	tenants map[string]uint32
}

func (b *rulesBuilder) add(name dataset, d *ruled) {
	tenant, known := b.tenants[name.tenant]
	if !known {
		tenant = uint32(len(b.rules.Tenants))
		b.tenants[name.tenant] = tenant
		b.rules.Tenants = append(b.rules.Tenants, &adaptiveplacement.TenantPlacement{TenantId: name.tenant})
	}
	b.rules.Datasets = append(b.rules.Datasets, &adaptiveplacement.DatasetPlacement{
		Tenant: tenant, Name: name.name, TenantShardLimit: d.tenantShards, DatasetShardLimit: d.datasetShards, LoadBalancing: d.balancing,
	})
}
