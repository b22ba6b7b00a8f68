package rebuild

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/proto/blockobject"
	"github.com/skerrydb/skerry/storage/objects"
)

// run is one pass over a bucket.
type run struct {
	bucket  objects.Bucket
	index   Index
	options Options
	pace    *pace

	mu sync.Mutex
	// What was listed, if that is asked for.
	seen   map[blockobject.Location]bool
	counts Counts
}

func newRun(bucket objects.Bucket, index Index, options Options) (*run, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	return &run{
		bucket: bucket, index: index, options: options, pace: newPace(options.Rate),
		counts: Counts{Verdicts: map[Verdict]uint64{}},
	}, nil
}

func (r *run) counted() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts.clone()
}

func (r *run) update(change func(*Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.counts)
	if r.options.Progress != nil {
		r.options.Progress(r.counts)
	}
}

func (r *run) found(verdict Verdict, name, detail string) {
	r.update(func(c *Counts) { c.Verdicts[verdict]++ })
	if r.options.Found != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.options.Found(Finding{verdict, name, detail})
	}
}

// shards lists the shards that have objects.
func (r *run) shards(ctx context.Context) ([]uint32, error) {
	all := map[uint32]bool{}
	for _, prefix := range []string{blockobject.BlockPrefix, blockobject.SegmentPrefix} {
		directories, err := r.directories(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, directory := range directories {
			if shard, err := strconv.ParseUint(directory, 10, 32); err == nil {
				all[uint32(shard)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// directories lists what is directly below a prefix.
func (r *run) directories(ctx context.Context, prefix string) ([]string, error) {
	var all []string
	for entry, err := range r.bucket.List(ctx, objects.ListOptions{Prefix: prefix, Delimited: true}) {
		if err != nil {
			return nil, err
		}
		if entry.Prefix {
			all = append(all, strings.TrimSuffix(strings.TrimPrefix(entry.Name, prefix), "/"))
		}
	}
	return all, nil
}

// tenants lists whose blocks a shard has, as far as they matter.
func (r *run) tenants(ctx context.Context, shard uint32) ([]string, error) {
	if r.options.Tenant != "" {
		return []string{r.options.Tenant}, nil
	}
	return r.directories(ctx, shardPrefix(blockobject.BlockPrefix, shard))
}

func shardPrefix(prefix string, shard uint32) string {
	return prefix + strconv.FormatUint(uint64(shard), 10) + "/"
}

// objects lists the objects of one directory, made since a time.
func (r *run) objects(ctx context.Context, kind blockobject.Kind, shard uint32, directory string, since time.Time) ([]*object, error) {
	prefix := blockobject.BlockPrefix
	if kind == blockobject.Segment {
		prefix = blockobject.SegmentPrefix
	}
	prefix = shardPrefix(prefix, shard) + directory + "/"
	list := objects.ListOptions{Prefix: prefix}
	if !since.IsZero() {
		// IDs begin with their time, and are listed in their order.
		var first ulid.ULID
		if err := first.SetTime(ulid.Timestamp(since)); err == nil {
			list.After = prefix + first.String()
		}
	}
	var all []*object
	strays := uint64(0)
	for entry, err := range r.bucket.List(ctx, list) {
		if err != nil {
			return nil, err
		}
		location, ok := blockobject.Parse(entry.Name)
		if !ok {
			strays++
			continue
		}
		location.Directory = directory // the same text for all of them
		all = append(all, &object{location: location, entry: entry})
	}
	r.update(func(c *Counts) {
		c.Strays += strays
		if r.seen != nil {
			for _, o := range all {
				r.seen[o.location] = true
			}
		}
	})
	return all, nil
}

// each does something with each of all, some at a time, up to the first fault.
func each[T any](ctx context.Context, atATime int, all []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan T)
	var workers sync.WaitGroup
	for range min(atATime, len(all)) {
		workers.Go(func() {
			for one := range next {
				if err := do(ctx, one); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for _, one := range all {
		select {
		case next <- one:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}
