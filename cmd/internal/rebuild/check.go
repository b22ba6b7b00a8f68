package rebuild

import (
	"context"
	"errors"
	"iter"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// Catalog is a cluster that can be asked for all that it has.
type Catalog interface {
	Index
	// Blocks yields the blocks that are indexed: one at least once, in any order.
	// An error ends it.
	Blocks(ctx context.Context) iter.Seq2[*metastorev1.BlockMeta, error]
}

// Check compares in both directions and changes nothing. Besides what Run keeps
// it keeps the places of all objects in memory, some 100 bytes each.
func Check(ctx context.Context, bucket objects.Bucket, index Catalog, options Options) (Counts, error) {
	options.DryRun = true
	r, err := newRun(bucket, index, options)
	if err != nil {
		return Counts{}, err
	}
	r.seen = map[blockobject.Location]bool{}
	if err = r.all(ctx); err == nil {
		err = r.absent(ctx, index)
	}
	return r.counted(), err
}

// absent finds blocks without an object.
func (r *run) absent(ctx context.Context, index Catalog) error {
	for block, err := range index.Blocks(ctx) {
		if err != nil {
			return err
		}
		id, err := metastorev1.ParseID(block.Id)
		if err != nil {
			return err
		}
		tenant := blockobject.Tenant(block)
		location := blockobject.Of(tenant, block.Shard, block.CompactionLevel, id)
		if r.seen[location] || id.Timestamp().Before(r.options.Since) || r.options.Tenant != "" && tenant != "" && tenant != r.options.Tenant {
			continue
		}
		r.seen[location] = true // once is enough
		gone, err := r.gone(ctx, location.Name())
		if err != nil {
			return err
		}
		// It may have been compacted, and its object deleted, since it was yielded.
		still, err := r.index.Lookup(ctx, tenant, block.Shard, []string{block.Id})
		if err != nil {
			return err
		}
		if gone && len(still) > 0 {
			r.found(Absent, location.Name(), "")
		}
	}
	return ctx.Err()
}

func (r *run) gone(ctx context.Context, name string) (bool, error) {
	_, err := r.bucket.Attributes(ctx, name)
	switch {
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, objects.ErrName):
		return true, nil
	}
	return false, err
}
