// Package rebuild compares the objects of blocks in a bucket with what a cluster
// has indexed, and brings back what the index lacks: each object ends in its own
// metadata.
//
//	shard by shard: objects ──┬─► index: which of them are known
//	                          └─► footers of the others ──► verdicts ──► AddBlock
//
// Not all that the index lacks is missed. What was compacted stays in the bucket
// until a worker deletes it, and would count twice beside what was made of it. No
// footer names its sources, so the verdict is drawn from times: see cover.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// Index is a cluster, as far as blocks are concerned.
type Index interface {
	// Lookup returns those of the blocks that are indexed, in any order. Tenant is
	// empty for segments. There are at most LookupMax ids.
	Lookup(ctx context.Context, tenant string, shard uint32, ids []string) ([]*metastorev1.BlockMeta, error)
	// Add adds a block unless it is there, or is to be deleted.
	Add(ctx context.Context, block *metastorev1.BlockMeta) error
}

// LookupMax is how many blocks one Lookup asks for.
const LookupMax = 200

// Options say what to bring back.
type Options struct {
	// Since leaves out blocks made before it; zero for none.
	Since time.Time
	// Tenant leaves out blocks of others, and segments without data of it; empty for
	// none.
	Tenant string
	// MinAge leaves out objects that are younger: their writers may be about to add
	// them.
	MinAge time.Duration
	// Doubtful brings also back what is Compacted or Unfinished.
	Doubtful bool
	// Tombstones are the cluster's, as far as they are known.
	Tombstones Tombstones
	// DryRun adds nothing.
	DryRun bool
	// Concurrency bounds footers read, and blocks added, at a time.
	Concurrency int
	// Rate bounds footers read in a second; 0 is no bound.
	Rate float64
	// Done tells which shards need not be looked at again; it may be nil.
	Done func(shard uint32) bool
	// Finished is called when all of a shard was dealt with; it may be nil.
	Finished func(shard uint32) error
	// Found is called for each object that is not in order, or was dealt with; one
	// call at a time.
	Found func(Finding)
	// Progress is called now and then, one call at a time; it may be nil.
	Progress func(Counts)
	// Now is the time that ages are told from.
	Now time.Time
}

func (o *Options) validate() error {
	switch {
	case o.Concurrency < 1:
		return errors.New("the concurrency must be 1 at least")
	case o.Rate < 0:
		return errors.New("the rate must not be negative")
	}
	return nil
}

// Verdict says what an object is to the index.
type Verdict string

// Verdicts. Those that the index lacks nothing of come first.
const (
	// Indexed objects are in order.
	Indexed Verdict = "indexed"
	// Compacted ones are covered by blocks of higher levels; a worker is about to
	// delete them, or has failed to.
	Compacted Verdict = "compacted"
	// Unfinished ones were made of blocks that are indexed: their job has not been
	// completed, or another worker completed it.
	Unfinished Verdict = "unfinished"
	// Young ones are left to their writers.
	Young Verdict = "young"
	// Gone ones were deleted meanwhile.
	Gone Verdict = "gone"
	// Tombstoned ones are to be deleted: the cluster says so, or did not take them.
	Tombstoned Verdict = "tombstoned"

	// Missing ones are not indexed. A dry run leaves them so.
	Missing Verdict = "missing"
	// Added ones were missing.
	Added Verdict = "added"

	// Damaged ones have no footer, or one of another block.
	Damaged Verdict = "damaged"
	// Resized ones have another size than the index says.
	Resized Verdict = "resized"
	// Refused ones could not be added.
	Refused Verdict = "refused"
	// Absent ones are indexed, but not in the bucket.
	Absent Verdict = "absent"
)

// Finding is an object and what it is to the index.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	Object  string  `json:"object"`
	Detail  string  `json:"detail,omitempty"`
}

// Counts sums up findings.
type Counts struct {
	// Objects of blocks that were looked at, and names that are none.
	Objects uint64 `json:"objects"`
	Strays  uint64 `json:"other_objects"`
	Footers uint64 `json:"footers_read"`
	// By verdict.
	Verdicts map[Verdict]uint64 `json:"verdicts"`
	// Shards that were dealt with, and all that there are.
	Shards    int `json:"shards"`
	ShardsAll int `json:"shards_all"`
}

func (c Counts) clone() Counts {
	verdicts := make(map[Verdict]uint64, len(c.Verdicts))
	for verdict, n := range c.Verdicts {
		verdicts[verdict] = n
	}
	c.Verdicts = verdicts
	return c
}

// Run brings back what the index lacks. It ends at the first fault of the bucket
// or the index, and can then be repeated: what is known is not added again.
func Run(ctx context.Context, bucket objects.Bucket, index Index, options Options) (Counts, error) {
	r, err := newRun(bucket, index, options)
	if err != nil {
		return Counts{}, err
	}
	err = r.all(ctx)
	return r.counted(), err
}

// all deals with one shard after the other: what belongs together is in one.
func (r *run) all(ctx context.Context) error {
	shards, err := r.shards(ctx)
	if err != nil {
		return err
	}
	r.update(func(c *Counts) { c.ShardsAll = len(shards) })
	for _, shard := range shards {
		if r.options.Done == nil || !r.options.Done(shard) {
			if err := r.shard(ctx, shard); err != nil {
				return fmt.Errorf("shard %d: %w", shard, err)
			}
			if r.options.Finished != nil {
				if err := r.options.Finished(shard); err != nil {
					return err
				}
			}
		}
		r.update(func(c *Counts) { c.Shards++ })
	}
	return nil
}

// object is an object of a block.
type object struct {
	location blockobject.Location
	entry    objects.Entry
	// What the index has of it, or else what its footer says; nil if it has none.
	block   *metastorev1.BlockMeta
	indexed bool
}
