package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Settle demands that a healed cluster works: within the patience new data can be
// added everywhere and everything can be read. What it reads is part of the
// history, which should be judged after it.
func (w *Workload) Settle(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var additions []*addition
	for range w.options.Shards {
		additions = append(additions, w.segment(w.segments.Add(1)-1))
		for tenant := range w.blocks {
			additions = append(additions, w.tenantBlock(uint32(w.options.Tenants+tenant), w.blocks[tenant].Add(1)-1))
		}
	}
	if err := w.all(ctx, len(additions), func(ctx context.Context, c *client, i int) error {
		if err := c.add(ctx, additions[i]); err != nil {
			return fmt.Errorf("add to shard %d of %q: %w", additions[i].block.GetShard(), additions[i].block.TenantName(), err)
		}
		return nil
	}); err != nil {
		return err
	}
	return w.all(ctx, 2*w.options.Tenants, func(ctx context.Context, c *client, i int) error {
		if err := c.query(ctx, []uint32{uint32(i)}, scope{0, c.begun(uint32(i)) + newest}); err != nil {
			return fmt.Errorf("query all of %s: %w", tenantName(uint32(i)), err)
		}
		return nil
	})
}

// all does so many things at a time, each again and again until it succeeds. It
// returns why one did not, by the end of the context.
func (w *Workload) all(ctx context.Context, count int, do func(context.Context, *client, int) error) error {
	failures := make([]error, count)
	var clients sync.WaitGroup
	for i := range count {
		c := &client{Workload: w, random: rand.New(rand.NewPCG(w.options.Seed, 4<<32|uint64(i)))}
		clients.Go(func() {
			for {
				err := do(ctx, c, i)
				if err == nil {
					failures[i] = nil
					return
				}
				if ctx.Err() == nil || failures[i] == nil {
					failures[i] = err // the last one that is not about the end of the context
				}
				if ctx.Err() != nil {
					return
				}
				c.pause(ctx, w.options.Pace)
			}
		})
	}
	clients.Wait()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}
