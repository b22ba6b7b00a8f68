package index

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Reader reads the index in one transaction: everything it returns is of one
// state.
type Reader struct{ tx *kv.Tx }

// NewReader returns a reader; the transaction must outlive it.
func NewReader(tx *kv.Tx) Reader { return Reader{tx} }

// contextInterval is the number of rows between two looks at the context.
const contextInterval = 256

// ErrTooLarge means that an answer exceeds the size that the caller allows.
var ErrTooLarge = errors.New("the answer is too large")

// Entries calls fn with the entries of one tenant and data shard, as they were
// added, in the order of the ids; ids that are not there are left out. A shard's
// strings are read once, however many of its blocks are asked for.
func (r Reader) Entries(ctx context.Context, tenant string, shardNumber uint32, ids []ulid.ULID, fn func(*metastorev1.BlockMeta) error) error {
	opened := map[uint64]*shardView{} // by partition; nil for those that do not exist
	for i, id := range ids {
		if i%contextInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key := KeyOf(id, tenant, shardNumber)
		shard, ok := opened[key.Partition]
		if !ok {
			var err error
			if shard, err = r.open(key); err != nil {
				return err
			}
			opened[key.Partition] = shard
		}
		if shard == nil {
			continue
		}
		stored := shard.bucket.Get(blockKey(id))
		if stored == nil {
			continue
		}
		block, err := shard.decode(stored)
		if err == nil {
			err = exportStrings(block, shard.strings)
		}
		if err != nil {
			return shard.wrap(err)
		}
		if err := fn(block); err != nil {
			return err
		}
	}
	return nil
}

// open reads a shard's record and strings; nil if there is no such shard.
func (r Reader) open(key ShardKey) (*shardView, error) {
	root := r.tx.Bucket(rootName(key.Keyspace))
	if root == nil {
		return nil, nil
	}
	bucket := root.Bucket(key.encode())
	if bucket == nil {
		return nil, nil
	}
	shard := &shardView{key: key, bucket: bucket}
	var err error
	if shard.record, err = readRecord(bucket); err != nil {
		return nil, shard.wrap(err)
	}
	shard.strings, err = loadStrings(bucket, shard.record)
	return shard, shard.wrap(err)
}

// shardView is one index shard under the reader's transaction.
type shardView struct {
	key     ShardKey
	bucket  *kv.Bucket
	record  Record
	strings *stringTable
}

func (s *shardView) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("index shard %q/%d in partition %d: %w", s.key.Tenant, s.key.Shard, s.key.Partition, err)
}

// shards calls fn for each index shard whose point lies in the span, in order
// of point, partition, shard and tenant, until the context ends. Shards that
// want refuses are skipped without being read.
func (r Reader) shards(ctx context.Context, span *clusterv1.RangeRef, want func(ShardKey) bool, fn func(*shardView) error) error {
	root := r.tx.Bucket(rootName(span.GetKeyspace()))
	if root == nil {
		return nil
	}
	seen := 0
	cursor := root.Cursor()
	for name, _ := cursor.Seek(binary.BigEndian.AppendUint64(nil, span.GetLo())); name != nil; name, _ = cursor.Next() {
		key, err := decodeShardKey(span.GetKeyspace(), name)
		if err != nil {
			return err
		}
		if !span.Contains(key.Point) {
			return nil
		}
		if seen++; seen%contextInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !want(key) {
			continue
		}
		shard := &shardView{key: key, bucket: root.Bucket(name)}
		if shard.bucket == nil {
			return shard.wrap(errShardKey)
		}
		if shard.record, err = readRecord(shard.bucket); err != nil {
			return shard.wrap(err)
		}
		if err := fn(shard); err != nil {
			return err
		}
	}
	return nil
}

// blocks calls fn for each stored block of the shard, in order of id.
func (s *shardView) blocks(fn func(*metastorev1.BlockMeta) error) error {
	cursor := s.bucket.Cursor()
	for k, v := cursor.Seek([]byte{tagBlock}); len(k) > 0 && k[0] == tagBlock; k, v = cursor.Next() {
		block, err := s.decode(v)
		if err != nil {
			return s.wrap(err)
		}
		if err := fn(block); err != nil {
			return err
		}
	}
	return nil
}

// decode reads a stored entry. Its references are checked, so that a damaged
// entry fails the query instead of matching by chance or crashing it.
func (s *shardView) decode(stored []byte) (*metastorev1.BlockMeta, error) {
	block := &metastorev1.BlockMeta{}
	if err := block.UnmarshalVT(stored); err != nil {
		return nil, fmt.Errorf("malformed block entry: %w", err)
	}
	if err := metastorev1.CheckRefs(block, len(s.strings.list)); err != nil {
		return nil, fmt.Errorf("malformed block entry %s: %w", block.GetId(), err)
	}
	return block, nil
}

// Tenants returns the tenants that have data in the spans, sorted: owners of
// tenant blocks, and owners of datasets in anonymous segments.
func (r Reader) Tenants(ctx context.Context, spans []*clusterv1.RangeRef) ([]string, error) {
	found := map[string]struct{}{}
	all := func(ShardKey) bool { return true }
	for _, span := range spans {
		err := r.shards(ctx, span, all, func(s *shardView) error {
			if s.key.Tenant != "" {
				found[s.key.Tenant] = struct{}{}
				return nil
			}
			cursor := s.bucket.Cursor()
			for k, _ := cursor.Seek([]byte{tagTenant}); len(k) > 0 && k[0] == tagTenant; k, _ = cursor.Next() {
				found[string(k[1:])] = struct{}{}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	tenants := make([]string, 0, len(found))
	for tenant := range found {
		tenants = append(tenants, tenant)
	}
	slices.Sort(tenants)
	return tenants, nil
}

// TenantBounds returns the data time bounds of a tenant in the spans, of tenant
// blocks and of datasets in anonymous segments alike; the empty tenant stands
// for the segments as such. It reports false if there is no data.
func (r Reader) TenantBounds(ctx context.Context, spans []*clusterv1.RangeRef, tenant string) (Bounds, bool, error) {
	var bounds Bounds
	found := false
	add := func(b Bounds) {
		if !found {
			bounds, found = b, true
			return
		}
		bounds.widen(b)
	}
	want := func(key ShardKey) bool { return key.Tenant == tenant || key.Tenant == "" }
	for _, span := range spans {
		err := r.shards(ctx, span, want, func(s *shardView) error {
			if s.key.Tenant == tenant {
				add(s.record.Bounds)
				return nil
			}
			stored := s.bucket.Get(tenantKey(tenant))
			if stored == nil {
				return nil
			}
			b, err := decodeBounds(stored)
			if err != nil {
				return s.wrap(err)
			}
			add(b)
			return nil
		})
		if err != nil {
			return Bounds{}, false, err
		}
	}
	return bounds, found, nil
}

// compareKeys is the order of answers: tenant, shard, id.
func compareKeys(tenantA string, shardA uint32, idA string, tenantB string, shardB uint32, idB string) int {
	return cmp.Or(cmp.Compare(tenantA, tenantB), cmp.Compare(shardA, shardB), cmp.Compare(idA, idB))
}
