package index

import (
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
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
}

// room is what is left of the answer's bound.
func (q *Query) room(used uint64) uint64 {
	if q.MaxBytes == 0 {
		return math.MaxUint64
	}
	return q.MaxBytes - min(used, q.MaxBytes)
}

// scan calls fn for every dataset that the query selects, with the matcher of
// its shard, and done after the last dataset of a block.
func (r Reader) scan(ctx context.Context, q Query, fn func(*shardMatcher, *metastorev1.Dataset) error, done func(*shardView, *metastorev1.BlockMeta) error) error {
	tenants := make(map[string]struct{}, len(q.Tenants))
	for _, tenant := range q.Tenants {
		tenants[tenant] = struct{}{}
	}
	want := func(key ShardKey) bool {
		_, listed := tenants[key.Tenant]
		return listed || key.Tenant == ""
	}
	seen := 0
	for _, span := range q.Spans {
		err := r.shards(ctx, span, want, func(s *shardView) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !s.record.overlaps(q.Time) {
				return nil
			}
			var err error
			if s.strings, err = loadStrings(s.bucket, s.record); err != nil {
				return s.wrap(err)
			}
			matcher, possible := newShardMatcher(s.strings, tenants, q)
			if !possible {
				return nil
			}
			return s.blocks(func(block *metastorev1.BlockMeta) error {
				if seen++; seen%contextInterval == 0 {
					if err := ctx.Err(); err != nil {
						return err
					}
				}
				if !(Bounds{block.GetMinTime(), block.GetMaxTime()}).overlaps(q.Time) {
					return nil
				}
				for _, dataset := range block.GetDatasets() {
					if !matcher.selects(dataset, q.Time) {
						continue
					}
					if err := fn(matcher, dataset); err != nil {
						return s.wrap(err)
					}
				}
				return done(s, block)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Blocks returns the blocks that have selected datasets, each with just these,
// encoded and sorted by (tenant, shard, id).
func (r Reader) Blocks(ctx context.Context, q Query) (*nodev1.QueryBlocksResponse, error) {
	var found []*nodev1.EncodedBlock
	var bytes, pending uint64
	var kept []*metastorev1.Dataset
	keep := func(m *shardMatcher, dataset *metastorev1.Dataset) error {
		// Names that are asked for more than once multiply the labels: what is
		// kept is bounded while it is built. A reference takes a byte at least.
		var fits bool
		if dataset.Labels, fits = m.keptLabels(dataset.GetLabels(), q.room(bytes+pending)); !fits {
			return ErrTooLarge
		}
		pending += uint64(len(dataset.Labels))
		kept = append(kept, dataset)
		return nil
	}
	done := func(s *shardView, block *metastorev1.BlockMeta) error {
		if len(kept) == 0 {
			return nil
		}
		block.Datasets = kept
		kept, pending = nil, 0
		if err := exportStrings(block, s.strings); err != nil {
			return s.wrap(err)
		}
		encoded, err := block.MarshalVT()
		if err != nil {
			return s.wrap(err)
		}
		if bytes += uint64(len(encoded)); q.MaxBytes > 0 && bytes > q.MaxBytes {
			return ErrTooLarge
		}
		found = append(found, &nodev1.EncodedBlock{Tenant: s.key.Tenant, Shard: s.key.Shard, Id: block.GetId(), Block: encoded})
		return nil
	}
	if err := r.scan(ctx, q, keep, done); err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *nodev1.EncodedBlock) int {
		return compareKeys(a.Tenant, a.Shard, a.Id, b.Tenant, b.Shard, b.Id)
	})
	cost := &nodev1.QueryCost{BlocksReturned: uint64(len(found)), BytesReturned: bytes}
	return &nodev1.QueryBlocksResponse{Blocks: found, Cost: cost}, nil
}

// LabelSets returns the distinct projections of the selected label sets on
// q.Labels, sorted. Each has one pair for each name, in the order of the
// names; the value of an absent label is empty.
func (r Reader) LabelSets(ctx context.Context, q Query) (*nodev1.QueryLabelsResponse, error) {
	if len(q.Labels) == 0 {
		return &nodev1.QueryLabelsResponse{Cost: &nodev1.QueryCost{}}, nil
	}
	answer := distinctProjections{names: q.Labels, limit: q.MaxBytes, values: map[string][]string{}}
	collect := func(m *shardMatcher, dataset *metastorev1.Dataset) error {
		sets := labelSets(dataset.GetLabels())
		for set, ok := sets.next(); ok; set, ok = sets.next() {
			if !m.matches(set) {
				continue
			}
			key, refs := m.projection(set)
			if m.projected[key] {
				continue
			}
			m.projected[key] = true
			if err := answer.add(m.strings, refs); err != nil {
				return err
			}
		}
		return nil
	}
	done := func(*shardView, *metastorev1.BlockMeta) error { return nil }
	if err := r.scan(ctx, q, collect, done); err != nil {
		return nil, err
	}
	return &nodev1.QueryLabelsResponse{Labels: answer.sorted(), Cost: &nodev1.QueryCost{BytesReturned: answer.bytes}}, nil
}
