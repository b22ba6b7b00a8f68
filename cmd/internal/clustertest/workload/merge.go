package workload

import (
	"fmt"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Merge does what compaction does to metadata: the datasets of each tenant go into
// one block, named by the job and its token, so that results tell who made them.
// Datasets that have the same name become one if they shall, as a real worker does
// it; otherwise all of them stay. Sources must not be empty.
func Merge(job *metastorev1.CompactionJob, token uint64, sources []*metastorev1.BlockMeta, join bool) []*metastorev1.BlockMeta {
	byTenant := map[string]*merging{}
	var made []*metastorev1.BlockMeta
	for _, source := range sources {
		for _, dataset := range source.GetDatasets() {
			tenant := source.StringAt(dataset.GetTenant())
			m := byTenant[tenant]
			if m == nil {
				first := ulid.MustParse(sources[0].GetId())
				m = &merging{
					block: &metastorev1.BlockMeta{
						FormatVersion: 1, Id: blockID(int64(first.Time()), fmt.Sprintf("job %s, token %d, tenant %s", job.GetName(), token, tenant)),
						StringTable: []string{"", tenant}, Tenant: 1, Shard: job.GetShard(), CompactionLevel: job.GetCompactionLevel() + 1,
						MinTime: dataset.GetMinTime(), MaxTime: dataset.GetMaxTime(),
					},
					refs: map[string]int32{"": 0, tenant: 1}, named: map[int32]*joined{},
				}
				byTenant[tenant] = m
				made = append(made, m.block)
			}
			m.put(dataset, source, join)
		}
	}
	return made
}

// merging is a block that is being made of others.
type merging struct {
	block *metastorev1.BlockMeta
	refs  map[string]int32
	// By name.
	named map[int32]*joined
}

// joined is a dataset that others may be joined to, and the sets of labels it has.
type joined struct {
	*metastorev1.Dataset
	sets map[string]bool
}

func (m *merging) ref(text string) int32 {
	ref, known := m.refs[text]
	if !known {
		ref = int32(len(m.block.StringTable))
		m.refs[text] = ref
		m.block.StringTable = append(m.block.StringTable, text)
	}
	return ref
}

// put copies a dataset with its strings.
func (m *merging) put(from *metastorev1.Dataset, source *metastorev1.BlockMeta, join bool) {
	b := m.block
	b.MinTime, b.MaxTime = min(b.MinTime, from.GetMinTime()), max(b.MaxTime, from.GetMaxTime())
	b.Size += from.GetSize()
	name := m.ref(source.StringAt(from.GetName()))
	to := m.named[name]
	if to == nil || !join {
		to = &joined{&metastorev1.Dataset{Tenant: 1, Name: name, MinTime: from.GetMinTime(), MaxTime: from.GetMaxTime()}, map[string]bool{}}
		m.named[name] = to
		b.Datasets = append(b.Datasets, to.Dataset)
	}
	to.MinTime, to.MaxTime = min(to.MinTime, from.GetMinTime()), max(to.MaxTime, from.GetMaxTime())
	to.Size += from.GetSize()
	for rest := from.GetLabels(); len(rest) > 0; {
		size := 1 + 2*int(rest[0])
		set := []int32{rest[0]}
		for _, old := range rest[1:size] {
			set = append(set, m.ref(source.StringAt(old)))
		}
		if rest = rest[size:]; !to.sets[fmt.Sprint(set)] {
			to.sets[fmt.Sprint(set)] = true
			to.Labels = append(to.Labels, set...)
		}
	}
}
