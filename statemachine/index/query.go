package index

import (
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
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

// contextInterval is the number of blocks between two looks at the context.
const contextInterval = 256

// scan calls fn for every dataset that the query selects, with the matcher of
// its shard, and done after the last dataset of a block.
func (r Reader) scan(ctx context.Context, q Query, fn func(*shardMatcher, *metastorev1.Dataset), done func(*shardView, *metastorev1.BlockMeta) error) error {
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
		err := r.shards(span, want, func(s *shardView) error {
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
					if matcher.selects(dataset, q.Time) {
						fn(matcher, dataset)
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
func (r Reader) Blocks(ctx context.Context, q Query) ([]*nodev1.EncodedBlock, error) {
	var found []*nodev1.EncodedBlock
	var bytes uint64
	var kept []*metastorev1.Dataset
	keep := func(m *shardMatcher, dataset *metastorev1.Dataset) {
		dataset.Labels = m.keptLabels(dataset.GetLabels())
		kept = append(kept, dataset)
	}
	done := func(s *shardView, block *metastorev1.BlockMeta) error {
		if len(kept) == 0 {
			return nil
		}
		block.Datasets = kept
		kept = nil
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
	return found, nil
}

// LabelSets returns the distinct projections of the selected label sets on
// q.Labels, sorted. Each has one pair for each name, in the order of the
// names; the value of an absent label is empty.
func (r Reader) LabelSets(ctx context.Context, q Query) ([]*typesv1.Labels, error) {
	if len(q.Labels) == 0 {
		return nil, nil
	}
	distinct := map[string][]string{}
	var bytes uint64
	collect := func(m *shardMatcher, dataset *metastorev1.Dataset) {
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
			values := make([]string, len(refs))
			for i, ref := range refs {
				values[i] = m.strings.list[ref]
			}
			// Values cannot be joined by a separator: any byte may occur in them.
			key = joinDistinct(values)
			if _, known := distinct[key]; !known {
				distinct[key] = values
				bytes += uint64(len(key))
			}
		}
	}
	done := func(*shardView, *metastorev1.BlockMeta) error {
		if q.MaxBytes > 0 && bytes > q.MaxBytes {
			return ErrTooLarge
		}
		return nil
	}
	if err := r.scan(ctx, q, collect, done); err != nil {
		return nil, err
	}
	projections := make([][]string, 0, len(distinct))
	for _, values := range distinct {
		projections = append(projections, values)
	}
	// All have the same names in the same order: comparing values is comparing
	// pairs.
	slices.SortFunc(projections, func(a, b []string) int { return slices.Compare(a, b) })
	answer := make([]*typesv1.Labels, len(projections))
	for i, values := range projections {
		answer[i] = &typesv1.Labels{Labels: make([]*typesv1.LabelPair, len(values))}
		for j, value := range values {
			answer[i].Labels[j] = &typesv1.LabelPair{Name: q.Labels[j], Value: value}
		}
	}
	return answer, nil
}

func joinDistinct(values []string) string {
	var b strings.Builder
	for _, value := range values {
		size := len(value)
		b.Write([]byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)})
		b.WriteString(value)
	}
	return b.String()
}
