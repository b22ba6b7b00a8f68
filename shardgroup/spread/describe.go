package spread

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/adaptive"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// published is what one update made. It is not changed any more.
type published struct {
	created   planner.Time
	stats     adaptive.Built
	rules     *adaptiveplacement.PlacementRules
	rates     int
	dropped   uint64
	unit      uint64
	overrides map[string]adaptive.Override

	once sync.Once
	rows []row
}

// row is one dataset of the rules, with its place in the statistics, -1 for none.
type row struct {
	tenant, name string
	rule         *adaptiveplacement.DatasetPlacement
	stats        int
}

func (r row) compare(tenant, name string) int {
	return cmp.Or(strings.Compare(r.tenant, tenant), strings.Compare(r.name, name))
}

// sorted returns all datasets in order of tenants and names.
func (p *published) sorted() []row {
	p.once.Do(func() {
		for _, rule := range p.rules.GetDatasets() {
			p.rows = append(p.rows, row{p.rules.GetTenants()[rule.GetTenant()].GetTenantId(), rule.GetName(), rule, -1})
		}
		slices.SortFunc(p.rows, func(a, b row) int { return a.compare(b.tenant, b.name) })
		for i, d := range p.stats.GetDatasets() {
			if at, found := p.find(p.stats.GetTenants()[d.GetTenant()].GetTenantId(), d.GetName()); found {
				p.rows[at].stats = i
			}
		}
	})
	return p.rows
}

func (p *published) find(tenant, name string) (int, bool) {
	return slices.BinarySearchFunc(p.rows, name, func(r row, name string) int { return r.compare(tenant, name) })
}

// skewed counts datasets that round-robin is better for, going by their true
// deviations.
func (p *published) skewed() int {
	n := 0
	for _, r := range p.sorted() {
		if r.stats < 0 {
			continue
		}
		unit := p.unit
		if own := p.overrides[r.tenant].UnitBytes; own != nil {
			unit = *own
		}
		if adaptive.Skewed(p.stats.Datasets[r.stats].GetUsage(), p.stats.Deviations[r.stats], r.rule.GetDatasetShardLimit(), unit) {
			n++
		}
	}
	return n
}

// Bounds of a page.
const (
	describeDefault = 100
	describeMax     = 1000
	describeBytes   = 4 << 20
)

// Describe tells what the last update made, page by page.
func (m *Manager) Describe(request *nodev1.DescribePlacementRequest) *nodev1.DescribePlacementResponse {
	m.mu.Lock()
	p, wrote, fault, idle := m.published, m.wrote, m.fault, m.idle
	m.mu.Unlock()
	response := &nodev1.DescribePlacementResponse{
		NodeId: m.node, Since: int64(m.since), WrittenAt: int64(wrote), Bucket: m.options.Bucket.String(),
	}
	switch {
	case fault != nil:
		response.Error = fault.Error()
	case idle:
		response.Error = "nothing has been added lately: the objects are left as they are, for another metastore may write them"
	}
	if p == nil {
		return response
	}
	response.CreatedAt, response.Rates, response.Dropped = int64(p.created), uint64(p.rates), p.dropped
	rows := p.sorted()
	if tenant := request.GetTenant(); tenant != "" {
		first, _ := p.find(tenant, "")
		rows = rows[first:]
		if end := slices.IndexFunc(rows, func(r row) bool { return r.tenant != tenant }); end >= 0 {
			rows = rows[:end]
		}
	}
	response.DatasetsTotal = uint64(len(rows))
	limit := int(min(cmp.Or(request.GetLimit(), describeDefault), describeMax))
	bytes := 0
	for _, r := range rows[p.behind(rows, request):] {
		if len(response.Datasets) >= limit || bytes >= describeBytes {
			response.More = true
			break
		}
		placed := p.placed(r)
		bytes += placed.SizeVT()
		response.Datasets = append(response.Datasets, placed)
	}
	return response
}

// behind returns where a page begins.
func (p *published) behind(rows []row, request *nodev1.DescribePlacementRequest) int {
	if request.GetAfterTenant() == "" && request.GetAfterDataset() == "" {
		return 0
	}
	at, found := slices.BinarySearchFunc(rows, request.GetAfterDataset(), func(r row, name string) int { return r.compare(request.GetAfterTenant(), name) })
	if found {
		at++
	}
	return at
}

func (p *published) placed(r row) *nodev1.PlacedDataset {
	placed := &nodev1.PlacedDataset{Tenant: r.tenant, Name: r.name, Rule: r.rule}
	if r.stats < 0 {
		return placed
	}
	d := p.stats.Datasets[r.stats]
	placed.StdDev, placed.Deviation = d.GetStdDev(), uint64(p.stats.Deviations[r.stats])
	for i, at := range d.GetShards() {
		shard := p.stats.Shards[at]
		placed.Shards = append(placed.Shards, &nodev1.PlacedShard{Id: shard.GetId(), Owner: shard.GetOwner(), Usage: d.GetUsage()[i]})
	}
	return placed
}
