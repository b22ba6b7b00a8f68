package index

import (
	"fmt"
	"maps"
	"slices"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// A shard of segments has a row for each tenant with the bounds of its datasets,
// of all blocks that ever came. They grow with nearly every block, for each of
// its tenants, so they are written for up to 64 blocks at a time: the record says
// how many blocks are counted in the rows (settled), and the entries of the
// blocks behind say the rest. Before one of these goes, or what is hidden
// changes, the shard is settled.

// tenantBounds are the bounds of the datasets of a tenant.
type tenantBounds struct {
	tenant string
	Bounds
}

// boundsIn returns the bounds of each tenant that has datasets in a segment that
// comes, so that a tenant is known from its first profile on. Datasets that are
// hidden do not count; anyHidden reports whether there are any.
func (s *openShard) boundsIn(block *metastorev1.BlockMeta, createdAt uint64) (found []tenantBounds, anyHidden bool) {
	if !s.key.segments() {
		return nil, false
	}
	at := make(map[int32]int, len(block.GetDatasets()))
	for _, dataset := range block.GetDatasets() {
		tenant := block.StringAt(dataset.GetTenant())
		if tenant == "" {
			continue
		}
		if until, hidden := s.hidden[tenant]; hidden && createdAt <= until {
			anyHidden = true
			continue
		}
		bounds := Bounds{dataset.GetMinTime(), dataset.GetMaxTime()}
		if i, seen := at[dataset.GetTenant()]; seen {
			found[i].widen(bounds)
			continue
		}
		at[dataset.GetTenant()] = len(found)
		found = append(found, tenantBounds{tenant, bounds})
	}
	return found, anyHidden
}

// widen notes the bounds of a tenant in the shard, if they grew.
func (s *openShard) widen(tenant string, bounds Bounds) error {
	before, known, err := s.boundsOf(tenant)
	if err != nil {
		return err
	}
	if known {
		bounds.widen(before)
	}
	s.writing.tenants[tenant] = bounds
	if known && bounds == before {
		return nil
	}
	if _, noted := s.moved[tenant]; !noted {
		s.moved[tenant] = nil
		s.order = append(s.order, tenant)
		if known {
			at := placeOf(before, s.live)
			s.moved[tenant] = &at
		}
	}
	s.writing.unsettled[tenant] = struct{}{}
	return nil
}

// boundsOf returns the bounds of a tenant, of all blocks.
func (s *openShard) boundsOf(tenant string) (Bounds, bool, error) {
	if bounds, known := s.writing.tenants[tenant]; known {
		return bounds, true, nil
	}
	stored := s.bucket.Get(tenantKey(tenant))
	if stored == nil {
		return Bounds{}, false, nil
	}
	bounds, err := decodeBounds(stored)
	return bounds, true, err
}

// settle writes the bounds that are not in rows yet.
func (s *openShard) settle() error {
	if s.record.Settled == s.record.Next {
		return nil
	}
	for _, tenant := range slices.Sorted(maps.Keys(s.writing.unsettled)) {
		if err := s.bucket.Put(tenantKey(tenant), s.writing.tenants[tenant].append(nil)); err != nil {
			return err
		}
	}
	clear(s.writing.unsettled)
	s.record.Settled, s.dirty = s.record.Next, true
	return nil
}

// loadUnsettled finds what the rows of a stored shard do not say yet.
func (s *openShard) loadUnsettled() error {
	pending, err := unsettled(s.bucket, s.dictionary.terms(s.record), s.record)
	if err != nil {
		return err
	}
	for _, p := range pending {
		if before, known, err := s.boundsOf(p.tenant); err != nil {
			return err
		} else if known {
			p.widen(before)
		}
		s.writing.tenants[p.tenant] = p.Bounds
		s.writing.unsettled[p.tenant] = struct{}{}
	}
	return nil
}

// unsettled returns the bounds of tenants in the blocks that are not counted in
// their rows, by first occurrence.
func unsettled(shard *kv.Bucket, t terms, record Record) ([]tenantBounds, error) {
	if record.Settled == record.Next {
		return nil, nil
	}
	var found []tenantBounds
	at := map[int32]int{}
	cursor := shard.Cursor()
	for k, v := cursor.Seek(numberedKey(tagBlock, record.Settled)); len(k) > 0 && k[0] == tagBlock; k, v = cursor.Next() {
		h, err := readHead(v)
		if err != nil {
			return nil, err
		}
		b, err := readBody(h)
		if err != nil {
			return nil, err
		}
		for {
			d, more, err := b.next(h)
			if err != nil {
				return nil, err
			}
			if !more {
				break
			}
			i, seen := at[d.tenant]
			switch {
			case seen:
				found[i].widen(d.Bounds)
			case int(d.tenant) >= len(t.strings):
				return nil, fmt.Errorf("%w %s: string %d of %d", errEntry, h.id, d.tenant, len(t.strings))
			case d.tenant != 0:
				at[d.tenant] = len(found)
				found = append(found, tenantBounds{t.strings[d.tenant], d.Bounds})
			}
		}
	}
	return found, nil
}

// settledTenants returns the bounds of all tenants that have rows in the shard,
// by name: of all there are, if it is settled.
func settledTenants(shard *kv.Bucket) ([]tenantBounds, error) {
	var found []tenantBounds
	cursor := shard.Cursor()
	for k, v := cursor.Seek([]byte{tagTenant}); len(k) > 0 && k[0] == tagTenant; k, v = cursor.Next() {
		bounds, err := decodeBounds(v)
		if err != nil {
			return nil, err
		}
		found = append(found, tenantBounds{string(k[1:]), bounds})
	}
	return found, nil
}

// allTenants returns the bounds of all tenants in a shard of segments, by name.
func allTenants(shard *kv.Bucket, t terms, record Record) ([]tenantBounds, error) {
	all, err := settledTenants(shard)
	if err != nil {
		return nil, err
	}
	pending, err := unsettled(shard, t, record)
	if len(pending) == 0 {
		return all, err
	}
	byName := make(map[string]Bounds, len(all)+len(pending))
	for _, one := range append(all, pending...) {
		if before, known := byName[one.tenant]; known {
			one.widen(before)
		}
		byName[one.tenant] = one.Bounds
	}
	all = all[:0]
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, tenantBounds{name, byName[name]})
	}
	return all, nil
}
