package rebuild

import (
	"fmt"
	"slices"

	"github.com/skerrydb/skerry/proto/blockobject"
)

// judge says of each object what it is to the index, and returns those that it
// lacks. They are given the oldest first.
func (r *run) judge(all []*object) []*object {
	indexed := newCover(slices.Collect(func(yield func(*object) bool) {
		for _, o := range all {
			if o.indexed && !yield(o) {
				return
			}
		}
	}))
	// What is half done covers nothing.
	var rest []*object
	verdicts := map[*object]Verdict{}
	for _, o := range all {
		if !r.options.Doubtful && !o.indexed && indexed.sourceOf(o) != nil {
			verdicts[o] = Unfinished
			continue
		}
		rest = append(rest, o)
	}
	cover := newCover(rest)
	var lacking []*object
	for _, o := range all {
		if !r.asked(o) || !r.ofTenant(o) {
			continue
		}
		verdict, detail := verdicts[o], ""
		switch {
		case !o.indexed && r.options.Tombstones.cover(o.location):
			verdict = Tombstoned
		case verdict != "":
		case o.indexed && o.block.Size != 0 && o.block.Size != uint64(o.entry.Size):
			verdict, detail = Resized, fmt.Sprintf("it has %d bytes, the index says %d", o.entry.Size, o.block.Size)
		case o.indexed:
			verdict = Indexed
		case !r.options.Doubtful && cover.covers(o):
			verdict = Compacted
		case r.options.Now.Sub(o.entry.Modified) < r.options.MinAge:
			verdict = Young
		default:
			lacking = append(lacking, o)
			continue
		}
		r.found(verdict, o.entry.Name, detail)
	}
	return lacking
}

// ofTenant tells whether there is data in it of the tenant that is asked for.
func (r *run) ofTenant(o *object) bool {
	if r.options.Tenant == "" || o.location.Kind == blockobject.Block {
		return true
	}
	for _, dataset := range o.block.Datasets {
		if text(o.block, dataset.Tenant) == r.options.Tenant {
			return true
		}
	}
	return false
}
