package dlq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/skerrydb/skerry/proto/blockobject"
	"github.com/skerrydb/skerry/storage/objects"
)

// planning is how many shards are listed at a time.
const planning = 8

// plan says which folders each lane goes through. It costs a list of the shards and
// one of each shard's tenants: a single one while the queue is empty.
type plan struct {
	recovery *Recovery
	lanes    map[uint64]*lane
	found
	// Shards to be listed together, and what failed before.
	batch  []string
	faults []error
}

// found is folders by lane, in order, and the lanes that have more of them than one
// sweep takes.
type found struct {
	folders map[*lane][]string
	full    map[*lane]bool
}

func newFound() found { return found{map[*lane][]string{}, map[*lane]bool{}} }

func (f found) add(l *lane, folder string) {
	switch {
	case folder <= l.cursor:
	case len(f.folders[l]) == l.recovery.options.Folders:
		f.full[l] = true
	default:
		f.folders[l] = append(f.folders[l], folder)
	}
}

// make lists as far as it can: a shard that cannot be listed holds up no other.
func (p *plan) make(ctx context.Context) error {
	err := p.recovery.walk(ctx, objects.ListOptions{Prefix: Prefix, Delimited: true}, func(shard objects.Entry) {
		if !shard.Prefix {
			p.stray(0)
			return
		}
		if p.batch = append(p.batch, shard.Name); len(p.batch) == planning {
			p.list(ctx)
		}
	})
	p.list(ctx)
	return errors.Join(append(p.faults, err)...)
}

// list lists the shards of the batch at the same time.
func (p *plan) list(ctx context.Context) {
	var (
		all    sync.WaitGroup
		parts  = make([]found, len(p.batch))
		faults = make([]error, len(p.batch))
	)
	for i, shard := range p.batch {
		parts[i] = newFound()
		all.Go(func() { faults[i] = p.shard(ctx, shard, parts[i]) })
	}
	all.Wait()
	for i, part := range parts {
		for l, folders := range part.folders {
			for _, folder := range folders {
				p.add(l, folder)
			}
			if part.full[l] {
				p.full[l] = true
			}
		}
		if faults[i] != nil && len(p.faults) < 3 {
			p.faults = append(p.faults, fmt.Errorf("%s: %w", p.batch[i], faults[i]))
		}
	}
	p.batch = p.batch[:0]
}

// shard finds out whose the folders below one shard's are.
func (p *plan) shard(ctx context.Context, folder string, found found) error {
	shard := shardOf(strings.TrimSuffix(strings.TrimPrefix(folder, Prefix), "/"))
	return p.recovery.walk(ctx, objects.ListOptions{Prefix: folder, Delimited: true}, func(tenant objects.Entry) {
		if !tenant.Prefix {
			p.stray(shard)
		} else if l := p.lane(shard, strings.TrimSuffix(strings.TrimPrefix(tenant.Name, folder), "/")); l != nil {
			found.add(l, tenant.Name)
		}
	})
}

// lane returns the lane that looks after a folder, nil if it is another process's
// or is not swept now.
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
