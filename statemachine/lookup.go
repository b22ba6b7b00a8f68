package statemachine

import (
	"context"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/statemachine/deletions"
	"github.com/skerrydb/skerry/statemachine/directory"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/outbox"
	"github.com/skerrydb/skerry/statemachine/ranges"
	"github.com/skerrydb/skerry/storage/kv"
)

// Query is a read that Machine.Lookup answers, from one state. Each kind says
// what it returns.
type Query interface{ read(*view) (any, error) }

// ErrTooLarge is returned for answers above the size that the query allows.
var ErrTooLarge = index.ErrTooLarge

// RouteRefusal is the error of a read whose spans the group does not own as
// the request believes.
type RouteRefusal struct{ Detail *clusterv1.RouteError }

func (e *RouteRefusal) Error() string { return "routing: " + e.Detail.GetReason().String() }

type view struct {
	tx     *kv.Tx
	header header
	ranges ranges.Table
	index  index.Reader
}

func newView(tx *kv.Tx, cache *index.GroupCache) (*view, error) {
	h, err := loadHeader(tx)
	if err != nil {
		return nil, err
	}
	table, err := ranges.Load(tx)
	if err != nil {
		return nil, err
	}
	return &view{tx, h, table, index.NewReader(tx, cache)}, nil
}

func (v *view) owns(refs ...*clusterv1.RangeRef) error {
	for _, ref := range refs {
		if refusal := checkOwnership(&v.header, v.ranges, ref); refusal != nil {
			return &RouteRefusal{refusal}
		}
	}
	return nil
}

// GetBlocks reads entries by id: [][]byte, encoded metastore.v1.BlockMeta in
// the order of IDs, without those that do not exist. A range of streams stands
// for those of the tenant's blocks that wait in the outbox of the shard's stream.
type GetBlocks struct {
	Context  context.Context
	Range    *clusterv1.RangeRef
	Tenant   string
	Shard    uint32
	IDs      []ulid.ULID
	MaxBytes uint64
}

func (q GetBlocks) read(v *view) (any, error) {
	keyspace, point := clusterv1.BlockPoint(q.Tenant, q.Shard)
	waiting := q.Tenant != "" && q.Range.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM
	if waiting {
		keyspace, point = clusterv1.BlockPoint("", q.Shard)
	}
	if q.Range.GetKeyspace() != keyspace || !q.Range.Contains(point) {
		return nil, fmt.Errorf("%w: tenant %q shard %d", ErrWrongSpan, q.Tenant, q.Shard)
	}
	if err := v.owns(q.Range); err != nil {
		return nil, err
	}
	var found [][]byte
	var bytes uint64
	var hidden map[string]uint64
	if q.Tenant == "" {
		var err error
		if hidden, err = deletions.Hidden(v.tx); err != nil {
			return nil, err
		}
	}
	take := func(encoded []byte) error {
		if bytes += uint64(len(encoded)); q.MaxBytes > 0 && bytes > q.MaxBytes {
			return ErrTooLarge
		}
		found = append(found, encoded)
		return nil
	}
	if waiting {
		err := v.index.OutboxEntries(q.Context, q.Tenant, q.Shard, q.IDs, take)
		return found, err
	}
	err := v.index.Entries(q.Context, q.Tenant, q.Shard, q.IDs, hidden, take)
	return found, err
}

// BlockQuery selects datasets by tenant, time and labels.
type BlockQuery struct {
	Context    context.Context
	Ranges     []*clusterv1.RangeRef
	Tenants    []string
	Start, End int64 // Unix milliseconds, inclusive
	Matchers   []*labels.Matcher
	Labels     []string
	MaxBytes   uint64
}

func (q BlockQuery) index(v *view) (index.Query, error) {
	var hidden map[string]uint64
	if len(q.Tenants) > 0 {
		var err error
		if hidden, err = deletions.Hidden(v.tx, q.Tenants...); err != nil {
			return index.Query{}, err
		}
	}
	return index.Query{
		Spans: q.Ranges, Tenants: q.Tenants, Time: index.Bounds{Min: q.Start, Max: q.End},
		Matchers: q.Matchers, Labels: q.Labels, MaxBytes: q.MaxBytes, Hidden: hidden,
		Transfer: (&transferNumbers{outbox.NewView(v.tx), map[chainOf]map[string]uint64{}}).of,
	}, nil
}

// QueryBlocks returns a *nodev1.QueryBlocksResponse.
type QueryBlocks BlockQuery

func (q QueryBlocks) read(v *view) (any, error) {
	if err := v.owns(q.Ranges...); err != nil {
		return nil, err
	}
	query, err := BlockQuery(q).index(v)
	if err != nil {
		return nil, err
	}
	answer, err := v.index.Blocks(q.Context, query)
	if err != nil {
		return nil, err
	}
	answer.Watermarks, err = v.watermarks(q.Ranges, q.Tenants...)
	return answer, err
}

// QueryLabels returns a *nodev1.QueryLabelsResponse.
type QueryLabels BlockQuery

func (q QueryLabels) read(v *view) (any, error) {
	if err := v.owns(q.Ranges...); err != nil {
		return nil, err
	}
	query, err := BlockQuery(q).index(v)
	if err != nil {
		return nil, err
	}
	answer, err := v.index.LabelSets(q.Context, query)
	if err != nil {
		return nil, err
	}
	answer.Watermarks, err = v.watermarks(q.Ranges, q.Tenants...)
	return answer, err
}

// ListTenants returns []string, sorted.
type ListTenants struct {
	Context context.Context
	Ranges  []*clusterv1.RangeRef
}

func (q ListTenants) read(v *view) (any, error) {
	if err := v.owns(q.Ranges...); err != nil {
		return nil, err
	}
	return v.index.Tenants(q.Context, q.Ranges)
}

// TenantStats returns a *nodev1.TenantStatsResponse; the empty tenant stands for
// the anonymous segments as such.
type TenantStats struct {
	Context context.Context
	Ranges  []*clusterv1.RangeRef
	Tenant  string
}

func (q TenantStats) read(v *view) (any, error) {
	if err := v.owns(q.Ranges...); err != nil {
		return nil, err
	}
	bounds, found, err := v.index.TenantBounds(q.Context, q.Ranges, q.Tenant)
	if err != nil {
		return nil, err
	}
	answer := &nodev1.TenantStatsResponse{Stats: &metastorev1.TenantStats{}}
	if found {
		answer.Stats = &metastorev1.TenantStats{DataIngested: true, OldestProfileTime: bounds.Min, NewestProfileTime: bounds.Max}
	}
	answer.Watermarks, err = v.watermarks(q.Ranges, q.Tenant)
	return answer, err
}

// ReadMap returns the directory's *clusterv1.RangeMap, nil before bootstrap.
type ReadMap struct{}

func (ReadMap) read(v *view) (any, error) { return directory.Load(v.tx) }

// ReadDirectory returns a Directory.
type ReadDirectory struct{}

// Directory is all that the directory group knows, of one state.
type Directory struct {
	Map *clusterv1.RangeMap // nil before bootstrap
	// Those that run, and the last ones that ended; the youngest first.
	Operations []*clusterv1.Operation
}

func (ReadDirectory) read(v *view) (any, error) {
	m, err := directory.Load(v.tx)
	if err != nil {
		return nil, err
	}
	operations, err := directory.LoadOperations(v.tx)
	slices.Reverse(operations)
	return Directory{m, operations}, err
}

// ReadStatus returns a Status.
type ReadStatus struct{}

// Status describes a replica.
type Status struct {
	Applied             uint64
	LogTime             int64 // Unix nanoseconds
	LeaderEpoch         uint64
	GroupID             uint64 // 0 before the group was initialised
	ClusterID           string
	Blocks, ObjectBytes uint64
	Ranges              []*clusterv1.Range
}

func (ReadStatus) read(v *view) (any, error) {
	h := v.header
	return Status{h.applied, h.logTime, h.leaderEpoch, h.groupID, clusterOf(v.tx), h.blocks, h.objectBytes, v.ranges.Rows()}, nil
}

// ReadHash returns the Hash of the state.
type ReadHash struct{}

func (ReadHash) read(v *view) (any, error) { return hashState(v.tx) }
