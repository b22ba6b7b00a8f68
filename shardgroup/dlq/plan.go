package dlq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/skerrydb/skerry/proto/blockobject"
	"github.com/skerrydb/skerry/storage/objects"
)

// plan says which folders each lane goes through. It costs a list of the shards and
// one of each shard's tenants: a single one while the queue is empty.
type plan struct {
	recovery *Recovery
	lanes    map[uint64]*lane
	folders  map[*lane][]string
	// There are more folders than one sweep takes.
	full map[*lane]bool
}

// make lists as far as it can: a shard that cannot be listed holds up no other.
func (p *plan) make(ctx context.Context) error {
	var faults []error
	err := p.recovery.walk(ctx, objects.ListOptions{Prefix: Prefix, Delimited: true}, func(shard objects.Entry) {
		if !shard.Prefix {
			p.stray(0)
			return
		}
		if err := p.shard(ctx, shard.Name); err != nil && len(faults) < 3 {
			faults = append(faults, fmt.Errorf("%s: %w", shard.Name, err))
		}
	})
	return errors.Join(append(faults, err)...)
}

// shard finds out whose the folders below one shard's are.
func (p *plan) shard(ctx context.Context, folder string) error {
	shard := shardOf(strings.TrimSuffix(strings.TrimPrefix(folder, Prefix), "/"))
	return p.recovery.walk(ctx, objects.ListOptions{Prefix: folder, Delimited: true}, func(tenant objects.Entry) {
		if !tenant.Prefix {
			p.stray(shard)
			return
		}
		l := p.lane(shard, strings.TrimSuffix(strings.TrimPrefix(tenant.Name, folder), "/"))
		switch {
		case l == nil || tenant.Name <= l.cursor:
		case len(p.folders[l]) == p.recovery.options.Folders:
			p.full[l] = true
		default:
			p.folders[l] = append(p.folders[l], tenant.Name)
		}
	})
}

// lane returns the idle lane that looks after a folder, nil if it is another
// process's or is busy.
func (p *plan) lane(shard uint32, directory string) *lane {
	group, known := p.recovery.cluster.Owner(home(shard, directory))
	if !known {
		return nil
	}
	return p.lanes[group]
}

// stray counts what is no entry and lies where only folders belong. One process
// does.
func (p *plan) stray(shard uint32) {
	if p.lane(shard, blockobject.AnonymousDirectory) != nil {
		p.recovery.metrics.attempts.WithLabelValues(string(stray)).Inc()
	}
}

// listPage is what object stores list in one call.
const listPage = 1000

var errListStalled = errors.New("the list does not go on")

// walk lists, without a bound of its whole time, but with one until the next name.
func (r *Recovery) walk(ctx context.Context, options objects.ListOptions, each func(objects.Entry)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(r.options.ListTimeout, func() { cancel(errListStalled) })
	defer watchdog.Stop()
	names := 0
	r.metrics.lists.Inc()
	for entry, err := range r.bucket.List(ctx, options) {
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, errListStalled) {
				return fmt.Errorf("%w for %s: %w", errListStalled, r.options.ListTimeout, err)
			}
			return err
		}
		watchdog.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if names++; names > 1 && names%listPage == 1 {
			r.metrics.lists.Inc()
		}
		each(entry)
		watchdog.Reset(r.options.ListTimeout)
	}
	return ctx.Err()
}
