package generate

import (
	"fmt"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// The footer of an object, and the index of a tenant in it: as in the capture.
const (
	footerBytes       = 1_000
	indexDatasetBytes = 1_200
)

var writerNames = func() (names [writers]string) {
	for n := range names {
		names[n] = fmt.Sprintf("pyroscope-segment-writer-%d", n)
	}
	return names
}()

// Block makes the i-th one, which is valid and the caller's. Its strings are in the order in which a
// producer meets them, so that it comes back byte for byte.
func (g *Generator) Block(i uint64) *metastorev1.BlockMeta {
	p := g.plan(i)
	return g.block(&p)
}

// ID is that of the i-th block.
func (g *Generator) ID(i uint64) string {
	p := g.plan(i)
	return p.ulid()
}

func (p *plan) ulid() string {
	var id ulid.ULID
	if err := id.SetTime(uint64(p.at)); err != nil {
		panic(err) // settings are checked
	}
	copy(id[6:], p.id[:])
	return id.String()
}

func (g *Generator) block(p *plan) *metastorev1.BlockMeta {
	w := &writing{
		g: g, p: p,
		block: &metastorev1.BlockMeta{
			FormatVersion: 1, Id: p.ulid(), Shard: p.shard, CompactionLevel: p.level, MinTime: p.min, MaxTime: p.max,
			StringTable: make([]string, 1, 32), Datasets: make([]*metastorev1.Dataset, 0, p.count+len(g.form.members)),
		},
	}
	if p.level > 0 {
		w.block.Tenant = w.ref(g.names[p.datasets[0].tenant])
	} else {
		w.block.CreatedBy = w.ref(writerNames[p.writer])
	}
	for k := range p.count {
		w.dataset(&p.datasets[k])
		if last := k+1 == p.count || p.datasets[k+1].tenant != p.datasets[k].tenant; last && g.form.index {
			w.index(p.datasets[k].tenant)
		}
	}
	w.block.MetadataOffset = w.offset
	w.block.Size = w.offset + footerBytes
	return w.block
}

// writing is a block that is being made.
type writing struct {
	g      *Generator
	p      *plan
	block  *metastorev1.BlockMeta
	offset uint64
	types  [len(ProfileTypes)]int32 // references, once there are any
}

// ref finds a string, or puts it at the end. Tables are short.
func (w *writing) ref(text string) int32 {
	for at := len(w.block.StringTable) - 1; at > 0; at-- {
		if w.block.StringTable[at] == text {
			return int32(at)
		}
	}
	w.block.StringTable = append(w.block.StringTable, text)
	return int32(len(w.block.StringTable) - 1)
}

func (w *writing) dataset(from *planned) {
	tenant, service := w.ref(w.g.names[from.tenant]), w.ref(w.g.services[from.service])
	name := w.ref(LabelService)
	labels := make([]int32, 0, 5*(len(w.types)+1))
	for k := from.profiles.first; k < from.profiles.last; k++ {
		kind := w.ref(LabelType)
		if w.types[k] == 0 {
			w.types[k] = w.ref(ProfileTypes[k])
		}
		labels = append(labels, 2, name, service, kind, w.types[k])
	}
	if from.unsymbolized {
		labels = append(labels, 2, name, service, w.ref(LabelUnsymbolized), w.ref("true"))
	}
	w.block.Datasets = append(w.block.Datasets, &metastorev1.Dataset{
		Tenant: tenant, Name: service, MinTime: from.min, MaxTime: from.max, Size: from.size, Labels: labels,
		TableOfContents: []uint64{w.offset, w.offset + from.size/4, w.offset + from.size/3},
	})
	w.offset += from.size
}

func (w *writing) index(tenant int) {
	d := &metastorev1.Dataset{
		Tenant: w.ref(w.g.names[tenant]), MinTime: w.p.min, MaxTime: w.p.max, Size: indexDatasetBytes, Format: 1,
		TableOfContents: []uint64{w.offset},
	}
	name := w.ref(LabelIndex)
	d.Labels = []int32{1, name, w.ref(valueIndex)}
	w.block.Datasets = append(w.block.Datasets, d)
	w.offset += indexDatasetBytes
}
