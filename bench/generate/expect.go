package generate

import (
	"iter"
	"slices"
	"sort"

	"github.com/skerrydb/skerry/bench/check"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Matching makes those blocks of indexes from first to last-1 that a query finds
// anything in, by index, each with what the answer has of it.
func (g *Generator) Matching(q *check.Query, first, last uint64) iter.Seq2[uint64, *metastorev1.BlockMeta] {
	return func(yield func(uint64, *metastorev1.BlockMeta) bool) {
		for i, block := range g.candidates(q, first, last) {
			if found := q.Select(block); found != nil && !yield(i, found) {
				return
			}
		}
	}
}

// candidates makes all blocks that may matter, and few others.
func (g *Generator) candidates(q *check.Query, first, last uint64) iter.Seq2[uint64, *metastorev1.BlockMeta] {
	return func(yield func(uint64, *metastorev1.BlockMeta) bool) {
		tenants := g.indexes(g.names, q.Tenants)
		service, unsymbolized := -1, false
		for _, m := range q.Matchers {
			switch m.Name {
			case LabelService:
				service = slices.Index(g.services, m.Value)
			case LabelUnsymbolized:
				unsymbolized = true
			}
		}
		// A block's profiles begin before it by lateMax at most, and end spanMax after it at most.
		first = max(first, g.search(q.From-spanMax, last))
		last = min(last, g.search(q.To+lateMax+1, last))
		for i := first; i < last; i++ {
			p := g.plan(i)
			if p.min > q.To || p.max < q.From {
				continue
			}
			if slices.ContainsFunc(p.datasets[:p.count], func(d planned) bool {
				return slices.Contains(tenants, d.tenant) && (service < 0 || d.service == service) && (!unsymbolized || d.unsymbolized)
			}) && !yield(i, g.block(&p)) {
				return
			}
		}
	}
}

// search returns the first index, up to last, that is created at a time or later.
func (g *Generator) search(millisecond int64, last uint64) uint64 {
	return uint64(sort.Search(int(last), func(i int) bool { return g.At(uint64(i)) >= millisecond }))
}

func (g *Generator) indexes(all, some []string) []int {
	var found []int
	for _, name := range some {
		if at := slices.Index(all, name); at >= 0 {
			found = append(found, at)
		}
	}
	return found
}

// Blocks is the digest of the answer to a query when the blocks up to last-1 are
// there.
func (g *Generator) Blocks(q *check.Query, last uint64) check.Digest {
	var d check.Digest
	h := check.NewHasher()
	for _, block := range g.Matching(q, 0, last) {
		d.Add(h.Block(block))
	}
	return d
}

// Labels has the answer to a query for labels when the blocks up to last-1 are there.
func (g *Generator) Labels(q check.Query, last uint64) *check.LabelSets {
	sets := check.NewLabelSets(q)
	for _, block := range g.candidates(&q, 0, last) {
		sets.Add(block)
	}
	return sets
}

// Bytes are the sizes of all datasets of the blocks up to last-1, by tenant and
// service; the index datasets have no service. Compaction adds them up and loses none.
func (g *Generator) Bytes(last uint64) map[string]map[string]uint64 {
	sums := map[string]map[string]uint64{}
	put := func(tenant int, service string, size uint64) {
		of := sums[g.names[tenant]]
		if of == nil {
			of = map[string]uint64{}
			sums[g.names[tenant]] = of
		}
		of[service] += size
	}
	for i := range last {
		p := g.plan(i)
		for k, d := range p.datasets[:p.count] {
			put(d.tenant, g.services[d.service], d.size)
			if g.form.index && (k+1 == p.count || p.datasets[k+1].tenant != d.tenant) {
				put(d.tenant, "", indexDatasetBytes)
			}
		}
	}
	return sums
}
