package index

import (
	"fmt"
	"math"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Writer changes the index in one transaction. It keeps what it has read of
// the shards it touches, and writes each shard's record once, in Flush.
type Writer struct {
	tx     *kv.Tx
	cache  *StringsCache
	shards map[string]*openShard
	// In order of first use, so that flushing does not depend on map order.
	order []*openShard
}

type openShard struct {
	name    string
	bucket  *kv.Bucket
	record  Record
	strings *stringTable
	// Bounds of the tenants met so far, as stored.
	tenants map[string]Bounds
	dirty   bool
}

// NewWriter returns a writer for a writable transaction. Call Flush before the
// transaction commits. It takes string tables from the cache and gives them
// back in Flush; a transaction that does not commit must be followed by
// cache.Clear.
func NewWriter(tx *kv.Tx, cache *StringsCache) *Writer {
	return &Writer{tx: tx, cache: cache, shards: map[string]*openShard{}}
}

// Add files a block, at the index of the Raft entry that holds it, under the
// shard of its id, tenant and shard number. It
// reports false, and changes nothing, if the block is already there. The block
// must be valid (metastorev1.ValidateBlock) and is changed by the call.
func (w *Writer) Add(block *metastorev1.BlockMeta, entry uint64) (bool, error) {
	id, err := metastorev1.ParseID(block.GetId())
	if err != nil {
		return false, err
	}
	tenant := block.TenantName()
	shard, err := w.open(KeyOf(id, tenant, block.GetShard()))
	if err != nil {
		return false, err
	}
	if shard.bucket.Get(blockKey(id)) != nil {
		return false, nil
	}
	known := len(shard.strings.list)
	if err := translate(block, sourceTable(block), shard.strings); err != nil {
		return false, err
	}
	block.StringTable = nil
	if added := shard.strings.list[known:]; len(added) > 0 {
		if err := shard.bucket.Put(stringsKey(uint32(known)), encodeChunk(added)); err != nil {
			return false, err
		}
	}
	encoded, err := block.MarshalVT()
	if err != nil {
		return false, err
	}
	if err := shard.bucket.Put(blockKey(id), encoded); err != nil {
		return false, err
	}
	if tenant == "" {
		if err := shard.widenTenants(block); err != nil {
			return false, err
		}
	}
	shard.count(block, entry)
	return true, nil
}

func (w *Writer) open(key ShardKey) (*openShard, error) {
	name := key.encode()
	cached := string(rootName(key.Keyspace)) + string(name)
	if shard, ok := w.shards[cached]; ok {
		return shard, nil
	}
	root, err := w.tx.CreateBucketIfNotExists(rootName(key.Keyspace))
	if err != nil {
		return nil, err
	}
	shard := &openShard{name: cached, record: Record{Bounds: Bounds{math.MaxInt64, math.MinInt64}}, tenants: map[string]Bounds{}}
	if shard.bucket = root.Bucket(name); shard.bucket == nil {
		if shard.bucket, err = root.CreateBucket(name); err != nil {
			return nil, err
		}
		shard.strings = newStringTable(0)
	} else {
		if shard.record, err = readRecord(shard.bucket); err != nil {
			return nil, fmt.Errorf("shard %+v: %w", key, err)
		}
		if shard.strings = w.cache.take(cached, shard.record.Revision); shard.strings == nil {
			if shard.strings, err = loadStrings(shard.bucket, shard.record); err != nil {
				return nil, fmt.Errorf("shard %+v: %w", key, err)
			}
		}
	}
	w.shards[cached] = shard
	w.order = append(w.order, shard)
	return shard, nil
}

func (s *openShard) count(block *metastorev1.BlockMeta, entry uint64) {
	s.record.widen(Bounds{block.GetMinTime(), block.GetMaxTime()})
	s.record.Blocks++
	s.record.ObjectBytes += block.GetSize()
	s.record.Strings = uint32(len(s.strings.list) - 1)
	s.record.Revision = entry
	s.dirty = true
}

// widenTenants keeps the bounds of each tenant that has datasets in a segment,
// so that a tenant is known from its first profile on.
func (s *openShard) widenTenants(block *metastorev1.BlockMeta) error {
	for _, dataset := range block.GetDatasets() {
		tenant, err := s.strings.at(dataset.GetTenant())
		if err != nil {
			return err
		}
		if tenant == "" {
			continue
		}
		before, known, err := s.tenantBounds(tenant)
		if err != nil {
			return err
		}
		bounds := Bounds{dataset.GetMinTime(), dataset.GetMaxTime()}
		if known {
			bounds.widen(before)
		}
		if known && bounds == before {
			continue
		}
		if err := s.bucket.Put(tenantKey(tenant), bounds.append(nil)); err != nil {
			return err
		}
		s.tenants[tenant] = bounds
	}
	return nil
}

func (s *openShard) tenantBounds(tenant string) (Bounds, bool, error) {
	if bounds, ok := s.tenants[tenant]; ok {
		return bounds, true, nil
	}
	stored := s.bucket.Get(tenantKey(tenant))
	if stored == nil {
		return Bounds{}, false, nil
	}
	bounds, err := decodeBounds(stored)
	s.tenants[tenant] = bounds
	return bounds, true, err
}

// Flush writes the records of the shards that changed, and gives the string
// tables to the cache.
func (w *Writer) Flush() error {
	for _, shard := range w.order {
		if shard.dirty {
			if err := shard.bucket.Put([]byte{tagRecord}, shard.record.encode()); err != nil {
				return err
			}
			shard.dirty = false
		}
		w.cache.put(shard.name, shard.record.Revision, shard.strings)
	}
	return nil
}

func readRecord(shard *kv.Bucket) (Record, error) {
	return decodeRecord(shard.Get([]byte{tagRecord}))
}
