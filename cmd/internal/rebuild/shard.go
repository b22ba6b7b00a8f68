package rebuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// coverMargin is how much older a block may be than one of those it was made of:
// it has the time of the oldest. Jobs of all levels together span less.
const coverMargin = 48 * time.Hour

// listsMax bounds how many directories are listed at a time.
const listsMax = 8

// shard deals with the objects of one shard, of which compaction never leads out.
// Memory holds the metadata of the shard's blocks that are not older than asked
// for, and coverMargin.
func (r *run) shard(ctx context.Context, shard uint32) error {
	all, err := r.read(ctx, shard)
	if err != nil {
		return err
	}
	lacking := r.judge(all)
	if r.options.DryRun {
		for _, o := range lacking {
			r.found(Missing, o.entry.Name, "")
		}
		return ctx.Err()
	}
	if err := each(ctx, r.options.Concurrency, lacking, r.add); err != nil {
		return err
	}
	return r.confirm(ctx, shard, lacking)
}

// read returns the shard's objects with their metadata, the oldest first.
func (r *run) read(ctx context.Context, shard uint32) ([]*object, error) {
	since := r.options.Since
	if !since.IsZero() {
		since = since.Add(-coverMargin)
	}
	tenants, err := r.tenants(ctx, shard)
	if err != nil {
		return nil, err
	}
	type source struct {
		kind              blockobject.Kind
		directory, tenant string
		since             time.Time
	}
	sources := []source{{blockobject.Segment, blockobject.AnonymousDirectory, "", r.options.Since}}
	for _, tenant := range tenants {
		sources = append(sources, source{blockobject.Block, tenant, tenant, since})
	}
	var mu sync.Mutex
	var all []*object
	err = each(ctx, min(r.options.Concurrency, listsMax), sources, func(ctx context.Context, s source) error {
		found, err := r.objects(ctx, s.kind, shard, s.directory, s.since)
		if err == nil {
			err = r.lookUp(ctx, s.tenant, shard, found)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, found...)
		return err
	})
	if err == nil {
		err = each(ctx, r.options.Concurrency, all, r.readFooter)
	}
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(o *object) bool { return o.block == nil })
	slices.SortFunc(all, func(a, b *object) int { return a.location.ID.Compare(b.location.ID) })
	return all, nil
}

// lookUp asks the index what it has of some objects of one tenant.
func (r *run) lookUp(ctx context.Context, tenant string, shard uint32, all []*object) error {
	for some := range slices.Chunk(all, LookupMax) {
		byID, ids := map[string]*object{}, make([]string, len(some))
		for i, o := range some {
			ids[i] = o.location.ID.String()
			byID[ids[i]] = o
		}
		known, err := r.index.Lookup(ctx, tenant, shard, ids)
		if err != nil {
			return err
		}
		for _, block := range known {
			if o := byID[block.Id]; o != nil {
				o.block, o.indexed = block, true
			}
		}
	}
	return nil
}

// readFooter reads the metadata of what the index lacks. What has none, or is
// gone, is dealt with by that.
func (r *run) readFooter(ctx context.Context, o *object) error {
	asked := r.asked(o)
	if asked {
		r.update(func(c *Counts) { c.Objects++ })
	}
	if o.indexed {
		return nil
	}
	if err := r.pace.wait(ctx); err != nil {
		return err
	}
	block, err := blockobject.Read(ctx, r.bucket, o.entry.Name)
	if err == nil {
		r.update(func(c *Counts) { c.Footers++ })
		err = belongs(block, o.location)
	}
	verdict := Verdict("")
	switch {
	case err == nil:
		o.block = block
		// A segment may belong to a tenant, which its name does not tell.
		if tenant := blockobject.Tenant(block); o.location.Kind == blockobject.Segment && tenant != "" {
			return r.lookUp(ctx, tenant, block.Shard, []*object{o})
		}
		return nil
	case errors.Is(err, objects.ErrNotFound):
		verdict = Gone
	case errors.Is(err, blockobject.ErrFooter), errors.Is(err, errOtherBlock):
		verdict = Damaged
	default:
		return err
	}
	if asked {
		r.found(verdict, o.entry.Name, err.Error())
	}
	return nil
}

var errOtherBlock = errors.New("the footer is another block's")

// belongs refuses a footer with which the block would be looked for elsewhere.
func belongs(block *metastorev1.BlockMeta, location blockobject.Location) error {
	id, err := metastorev1.ParseID(block.Id)
	if err != nil {
		return fmt.Errorf("%w: %w", errOtherBlock, err)
	}
	if said := blockobject.Of(blockobject.Tenant(block), block.Shard, block.CompactionLevel, id); said != location {
		return fmt.Errorf("%w: that of %s", errOtherBlock, said.Name())
	}
	return nil
}

// asked tells whether the options ask for an object, as far as its name tells.
func (r *run) asked(o *object) bool {
	return !o.location.ID.Timestamp().Before(r.options.Since)
}

func (r *run) add(ctx context.Context, o *object) error {
	err := r.index.Add(ctx, o.block)
	var refused *RefusedError
	if errors.As(err, &refused) {
		o.block = nil
		r.found(Refused, o.entry.Name, refused.Error())
		return nil
	}
	return err
}

// RefusedError is Add's of a block that the index will never take.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// confirm looks whether the index took what was added: it does not say so of
// blocks that are to be deleted.
func (r *run) confirm(ctx context.Context, shard uint32, added []*object) error {
	byTenant := map[string][]*object{}
	for _, o := range added {
		if o.block != nil {
			tenant := blockobject.Tenant(o.block)
			byTenant[tenant] = append(byTenant[tenant], o)
		}
	}
	for tenant, some := range byTenant {
		if err := r.lookUp(ctx, tenant, shard, some); err != nil {
			return err
		}
		for _, o := range some {
			if o.indexed {
				r.found(Added, o.entry.Name, "")
			} else {
				r.found(Tombstoned, o.entry.Name, "it was added, but is not there: it is to be deleted, or was compacted at once")
			}
		}
	}
	return nil
}
