package index

import (
	"fmt"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// Writer changes the index in one transaction. It keeps what it has read of
// the shards it touches, and writes each shard's record, and what follows from
// it, once, in Flush.
type Writer struct {
	tx     *kv.Tx
	cache  *GroupCache
	shards map[string]*openShard
	// In order of first use, so that flushing does not depend on map order.
	order []*openShard
	// See Hide.
	hidden map[string]uint64
}

// NewWriter returns a writer for a writable transaction. Call Flush before the
// transaction commits. It takes dictionaries from the cache and gives them
// back in Flush; a transaction that does not commit must be followed by
// cache.Clear.
func NewWriter(tx *kv.Tx, cache *GroupCache) *Writer {
	return &Writer{tx: tx, cache: cache, shards: map[string]*openShard{}}
}

// Add files a block, at the index of the Raft entry that holds it, in the shard
// of a key (KeyOf, or OutboxKey). It reports false, and changes nothing, if the
// block is already there. The block must be valid (metastorev1.ValidateBlock)
// and is used up by the call.
func (w *Writer) Add(key ShardKey, id ulid.ULID, block *metastorev1.BlockMeta, entry uint64) (bool, error) {
	shard, err := w.open(key, entry)
	if err != nil {
		return false, err
	}
	if shard.has(id) {
		return false, nil
	}
	return true, shard.wrap(shard.add(id, block, entry))
}

// Has tells whether a block is there.
func (w *Writer) Has(key ShardKey, id ulid.ULID) bool {
	if shard, open := w.shards[shardName(key)]; open {
		return shard.has(id)
	}
	bucket := w.tx.BucketAt(rootName(key.Keyspace), key.encode())
	return bucket != nil && bucket.Get(idKey(id)) != nil
}

// Remove takes a block away, at the index of the Raft entry that says so, and
// returns the bytes of its object. It reports false if there is no such block.
// The shard stays, with its bounds, also without blocks; what its blocks shared
// is given back when few of those that came are left.
func (w *Writer) Remove(key ShardKey, id ulid.ULID, entry uint64) (objectBytes uint64, existed bool, err error) {
	if exists, err := w.exists(key); err != nil || !exists {
		return 0, false, err
	}
	shard, err := w.open(key, entry)
	if err != nil {
		return 0, false, err
	}
	stored := shard.bucket.Get(idKey(id))
	if stored == nil {
		return 0, false, nil
	}
	objectBytes, err = shard.remove(id, stored, entry)
	return objectBytes, true, shard.wrap(err)
}

// Revision returns the revision of a shard; false if there is no such shard.
func (w *Writer) Revision(key ShardKey) (uint64, bool, error) {
	shard, err := w.glance(key)
	if shard == nil || err != nil {
		return 0, false, err
	}
	return shard.record.Revision, true, nil
}

// OldestLive is Reader.OldestLive of what was written so far.
func (w *Writer) OldestLive(tenant string, shardNumber uint32) (partition uint64, found bool, err error) {
	if err := w.Flush(); err != nil {
		return 0, false, err
	}
	return NewReader(w.tx, w.cache).OldestLive(tenant, shardNumber)
}

// Drop takes a shard away with all it holds, and returns the number of its
// blocks and the bytes of their objects; a shard that is not there counts as
// empty.
func (w *Writer) Drop(key ShardKey) (blocks, objectBytes uint64, err error) {
	shard, err := w.glance(key)
	if shard != nil && err == nil && shard.record.Settled < shard.record.Next {
		shard, err = w.open(key, shard.record.Revision)
	}
	if shard == nil || err != nil {
		return 0, 0, err
	}
	if err := shard.leaveTimeline(w.tx); err != nil {
		return 0, 0, shard.wrap(err)
	}
	if err := delist(w.tx, key); err != nil {
		return 0, 0, err
	}
	w.forget(shard)
	blocks, objectBytes = shard.record.Blocks, shard.record.ObjectBytes
	return blocks, objectBytes, w.tx.Bucket(rootName(key.Keyspace)).DeleteBucket(key.encode())
}

// Tidy drops a shard if it has no blocks.
func (w *Writer) Tidy(key ShardKey) error {
	shard, err := w.glance(key)
	if shard == nil || err != nil || shard.record.Blocks > 0 {
		return err
	}
	_, _, err = w.Drop(key)
	return err
}

// glance returns a shard with its record only, nil if there is none.
func (w *Writer) glance(key ShardKey) (*openShard, error) {
	if shard, open := w.shards[shardName(key)]; open {
		return shard, nil
	}
	bucket := w.tx.BucketAt(rootName(key.Keyspace), key.encode())
	if bucket == nil {
		return nil, nil
	}
	shard := &openShard{key: key, name: shardName(key), bucket: bucket}
	return shard, shard.wrap(shard.loadRecord(newRowCursor(bucket)))
}

func (w *Writer) exists(key ShardKey) (bool, error) {
	if _, open := w.shards[shardName(key)]; open {
		return true, nil
	}
	return w.tx.BucketAt(rootName(key.Keyspace), key.encode()) != nil, nil
}

// shardName is what a shard is called in caches: unlike the bucket's name, it
// says the keyspace.
func shardName(key ShardKey) string {
	return string(append([]byte{byte(key.Keyspace)}, key.encode()...))
}

// open returns a shard to write to, a new one if there is none.
func (w *Writer) open(key ShardKey, entry uint64) (*openShard, error) {
	name := shardName(key)
	if shard, ok := w.shards[name]; ok {
		return shard, nil
	}
	root, err := w.tx.CreateBucketIfNotExists(rootName(key.Keyspace))
	if err != nil {
		return nil, err
	}
	shard := &openShard{key: key, name: name, hidden: w.hidden}
	if shard.bucket = root.Bucket(key.encode()); shard.bucket == nil {
		if shard.bucket, err = root.CreateBucket(key.encode()); err != nil {
			return nil, err
		}
		if err := enlist(w.tx, key); err != nil {
			return nil, err
		}
		shard.begin(entry)
	} else if err = shard.load(w.cache); err != nil {
		return nil, shard.wrap(err)
	}
	w.shards[name] = shard
	w.order = append(w.order, shard)
	return shard, nil
}

func (w *Writer) forget(shard *openShard) {
	delete(w.shards, shard.name)
	for i, other := range w.order {
		if other == shard {
			w.order = append(w.order[:i:i], w.order[i+1:]...)
			return
		}
	}
}

// Flush writes the records of the shards that changed and their places in the
// timeline, and gives the dictionaries to the cache.
func (w *Writer) Flush() error {
	for _, shard := range w.order {
		if shard.dirty {
			if err := shard.flush(w.tx); err != nil {
				return shard.wrap(err)
			}
		}
		w.cache.leave(shard.name, shard.dictionary, shard.writing)
	}
	return nil
}

func wrap(key ShardKey, err error) error {
	if err == nil {
		return nil
	}
	keyspace := "tenant"
	if key.Keyspace == clusterv1.Keyspace_KEYSPACE_STREAM {
		keyspace = "segments"
	}
	return fmt.Errorf("index shard %s %q/%d in partition %d: %w", keyspace, key.Tenant, key.Shard, key.Partition, err)
}
