package index

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Query selects datasets by tenant, time and labels.
type Query struct {
	// Parts of ranges to read; the caller has checked ownership.
	Spans []*clusterv1.RangeRef
	// Anonymous segments in the spans are always read; of these, and of tenant
	// blocks, only datasets of the tenants named here are seen.
	Tenants []string
	// Data time, inclusive. The start may lie after the end: then what spans
	// both is selected.
	Time Bounds
	// All must hold within one label set.
	Matchers []*labels.Matcher
	// Label names to keep (blocks) or to project on (labels).
	Labels []string
	// Bound of the answer's encoded size; 0 for none.
	MaxBytes uint64
	// By tenant: datasets in segments that were created up to this moment, Unix
	// milliseconds, are not seen.
	Hidden map[string]uint64
	// Returns the transfer that a block of an outbox waits in; nil leaves
	// them out.
	Transfer func(stream uint32, tenant, id string) (uint64, error)
}

// room is what is left of the answer's bound.
func (q *Query) room(used uint64) uint64 {
	if q.MaxBytes == 0 {
		return math.MaxUint64
	}
	return q.MaxBytes - min(used, q.MaxBytes)
}

// shards returns the index shards that may hold data of the tenants at the
// time, in the order of answers.
func (r Reader) shards(ctx context.Context, q *Query) ([]ShardKey, error) {
	var found []ShardKey
	for _, span := range q.Spans {
		for _, tenant := range q.Tenants {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if !mayHold(span, tenant) {
				continue
			}
			err := owned(r.tx, span.GetKeyspace(), tenant, q.Time, func(key ShardKey) error {
				if span.Contains(key.Point) {
					found = append(found, key)
				}
				if len(found)%contextInterval == 0 {
					return ctx.Err()
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(found, compareAnswers)
	return slices.Compact(found), nil
}

// scan calls fn with each shard that has label sets the query selects, and with
// these.
func (r Reader) scan(ctx context.Context, q *Query, cost *nodev1.QueryCost, fn func(*shardView, *seriesSet) error) error {
	q.Tenants = slices.Compact(slices.Sorted(slices.Values(q.Tenants)))
	keys, err := r.shards(ctx, q)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		shard, err := r.open(key)
		if err != nil {
			return err
		}
		if shard == nil {
			return wrap(key, errRecord) // the timeline knows a shard that is not there
		}
		if !shard.record.overlaps(q.Time) {
			continue
		}
		cost.Shards++
		loaded, err := r.learn(shard)
		cost.BytesLoaded += uint64(loaded)
		if err != nil {
			return err
		}
		selected := selectSeries(shard.terms, q.Tenants, q.Matchers)
		if selected == nil {
			cost.ShardsSkipped++
			continue
		}
		loaded, err = r.begin(shard)
		cost.BytesLoaded += uint64(loaded)
		if err != nil {
			return err
		}
		if err := fn(shard, selected); err != nil {
			return shard.wrap(err)
		}
	}
	return nil
}

// Blocks returns the blocks that have selected datasets, each with just these,
// encoded and sorted by (tenant, shard, id).
func (r Reader) Blocks(ctx context.Context, q Query) (*nodev1.QueryBlocksResponse, error) {
	answer := &nodev1.QueryBlocksResponse{Cost: &nodev1.QueryCost{}}
	found := &foundBlocks{}
	err := r.scan(ctx, &q, answer.Cost, func(s *shardView, selected *seriesSet) error {
		err := s.blocks(ctx, &q, selected, answer.Cost, found)
		answer.Blocks = found.finish(s.key, answer.Blocks)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Shards come in this order: what is left is little.
	slices.SortFunc(answer.Blocks, func(a, b *nodev1.EncodedBlock) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Id, b.Id), cmp.Compare(a.Transfer, b.Transfer))
	})
	answer.Cost.BlocksReturned = uint64(len(answer.Blocks))
	return answer, nil
}

// blocks collects the shard's selected blocks.
func (s *shardView) blocks(ctx context.Context, q *Query, selected *seriesSet, cost *nodev1.QueryCost, found *foundBlocks) error {
	keep := newKeeper(s.terms, selected, q.Labels)
	export := newExporter(s.terms)
	hidden, only := s.hide(q.Hidden), s.terms.numbers(q.Tenants)
	search := search{shard: s, time: q.Time, wanted: selected, cost: cost}
	return search.run(ctx, func(h head) error {
		b, err := readBody(h)
		if err != nil {
			return err
		}
		b.only = only
		keep.reset(q.room(cost.BytesReturned))
		for {
			d, more, err := b.next(h)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if !d.overlaps(q.Time) || hidden.hides(h, d) {
				continue
			}
			if err := keep.dataset(d); err != nil {
				return err
			}
		}
		if len(keep.kept) == 0 {
			return nil
		}
		if found.scratch, err = export.block(found.scratch[:0], h, b, keep.kept); err != nil {
			return err
		}
		if cost.BytesReturned += uint64(len(found.scratch)); q.MaxBytes > 0 && cost.BytesReturned > q.MaxBytes {
			return ErrTooLarge
		}
		transfer := uint64(0)
		if s.key.outbox() && q.Transfer != nil {
			transfer, err = q.Transfer(s.key.Shard, s.key.Tenant, h.id.String())
		}
		found.add(h.id, transfer, found.scratch)
		return err
	})
}

// LabelSets returns the distinct projections of the selected label sets on
// q.Labels, sorted. Each has one pair for each name, in the order of the
// names; the value of an absent label is empty.
func (r Reader) LabelSets(ctx context.Context, q Query) (*nodev1.QueryLabelsResponse, error) {
	answer := &nodev1.QueryLabelsResponse{Cost: &nodev1.QueryCost{}}
	if len(q.Labels) == 0 {
		return answer, nil
	}
	found := distinctProjections{names: q.Labels, limit: q.MaxBytes, values: map[string][]string{}}
	err := r.scan(ctx, &q, answer.Cost, func(s *shardView, selected *seriesSet) error {
		return s.projections(ctx, &q, selected, &found, answer.Cost)
	})
	if err != nil {
		return nil, err
	}
	answer.Labels = found.sorted()
	answer.Cost.BytesReturned = found.bytes
	return answer, nil
}

// projections adds the shard's projections to those that were found. A series
// whose projection is known already is not looked for; the search ends when
// each was found, or proves to have no data at the time.
func (s *shardView) projections(ctx context.Context, q *Query, selected *seriesSet, found *distinctProjections, cost *nodev1.QueryCost) error {
	names := make([]int32, len(q.Labels))
	for i, name := range q.Labels {
		names[i] = s.terms.number(name)
	}
	byProjection := map[string][]int32{}
	selected.each(func(number int32) {
		values := s.terms.project(s.terms.series.set(number), names)
		key := projectionKey(values)
		if _, known := found.values[key]; known {
			selected.remove(number)
			return
		}
		byProjection[key] = append(byProjection[key], number)
	})
	hidden, only := s.hide(q.Hidden), s.terms.numbers(q.Tenants)
	search := search{shard: s, time: q.Time, wanted: selected, shrinks: true, cost: cost}
	return search.run(ctx, func(h head) error {
		b, err := readBody(h)
		if err != nil {
			return err
		}
		b.only = only
		for {
			d, more, err := b.next(h)
			if err != nil || !more {
				return err
			}
			if !d.overlaps(q.Time) || hidden.hides(h, d) {
				continue
			}
			d.each(func(number int32) bool {
				if int(number) >= s.terms.series.len() {
					err = errUnknownSeries
					return false
				}
				if !selected.has(uint64(number)) {
					return true
				}
				values := s.terms.project(s.terms.series.set(number), names)
				key := projectionKey(values)
				for _, same := range byProjection[key] {
					selected.remove(same)
				}
				err = found.add(key, values)
				return err == nil
			})
			if err != nil {
				return err
			}
		}
	})
}
