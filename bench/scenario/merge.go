package scenario

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// merge does what compaction does to metadata: one block for each tenant, in which
// datasets of one service are one, with the sum of their sizes.
func merge(job *metastorev1.CompactionJob, token uint64, sources []*metastorev1.BlockMeta) []*metastorev1.BlockMeta {
	byTenant := map[string]*merging{}
	var made []*metastorev1.BlockMeta
	for _, source := range sources {
		for _, d := range source.GetDatasets() {
			tenant := source.StringAt(d.GetTenant())
			m := byTenant[tenant]
			if m == nil {
				m = newMerging(job, token, tenant, sources[0].GetId())
				m.block.MinTime, m.block.MaxTime = d.GetMinTime(), d.GetMaxTime()
				byTenant[tenant] = m
				made = append(made, m.block)
			}
			m.put(source, d)
		}
	}
	return made
}

// merging is a block that is being made.
type merging struct {
	block *metastorev1.BlockMeta
	refs  map[string]int32
	// Datasets by the reference of their name, and the sets of labels that each has.
	named map[int32]*metastorev1.Dataset
	sets  map[int32][][]int32
}

func newMerging(job *metastorev1.CompactionJob, token uint64, tenant, first string) *merging {
	m := &merging{refs: map[string]int32{}, named: map[int32]*metastorev1.Dataset{}, sets: map[int32][][]int32{}}
	m.block = &metastorev1.BlockMeta{FormatVersion: 1, Id: resultID(job.GetName(), token, tenant, first), Shard: job.GetShard(), CompactionLevel: job.GetCompactionLevel() + 1}
	m.ref("")
	m.block.Tenant = m.ref(tenant)
	return m
}

// resultID has the time of the first source; the rest tells job, token and tenant.
func resultID(name string, token uint64, tenant, first string) string {
	id, err := ulid.ParseStrict(first)
	if err != nil {
		id = ulid.ULID{} // the server will say what it thinks of it
	}
	binary.BigEndian.PutUint64(id[8:], xxhash.Sum64String(fmt.Sprintf("%s %d %s", name, token, tenant)))
	binary.BigEndian.PutUint16(id[6:], uint16(token))
	return id.String()
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

func (m *merging) put(source *metastorev1.BlockMeta, from *metastorev1.Dataset) {
	b := m.block
	b.MinTime, b.MaxTime = min(b.MinTime, from.GetMinTime()), max(b.MaxTime, from.GetMaxTime())
	b.Size += from.GetSize()
	name := m.ref(source.StringAt(from.GetName()))
	to := m.named[name]
	if to == nil {
		to = &metastorev1.Dataset{Tenant: b.Tenant, Name: name, MinTime: from.GetMinTime(), MaxTime: from.GetMaxTime(), Format: from.GetFormat(), TableOfContents: []uint64{b.Size}}
		m.named[name] = to
		b.Datasets = append(b.Datasets, to)
	}
	to.MinTime, to.MaxTime = min(to.MinTime, from.GetMinTime()), max(to.MaxTime, from.GetMaxTime())
	to.Size += from.GetSize()
	for rest := from.GetLabels(); len(rest) > 0; {
		size := 1 + 2*int(rest[0])
		set := []int32{rest[0]}
		for _, old := range rest[1:size] {
			set = append(set, m.ref(source.StringAt(old)))
		}
		rest = rest[size:]
		if !slices.ContainsFunc(m.sets[name], func(known []int32) bool { return slices.Equal(known, set) }) {
			m.sets[name] = append(m.sets[name], set)
			to.Labels = append(to.Labels, set...)
		}
	}
}
