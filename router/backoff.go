package router

import (
	"context"
	"math/rand/v2"
	"time"
)

// pace is a range of waits: each wait is twice the one before.
type pace struct{ first, last time.Duration }

// Fixed by the error contract between groups and routers.
func retryPace() pace    { return pace{2 * time.Millisecond, 500 * time.Millisecond} }
func overloadPace() pace { return pace{50 * time.Millisecond, 2 * time.Second} }

// backoff counts the waits of one piece of work. Each pace grows on its own.
type backoff struct{ retries, overloads int }

func (b *backoff) retry(ctx context.Context) error {
	b.retries++
	return wait(ctx, retryPace().nth(b.retries))
}

func (b *backoff) overload(ctx context.Context) error {
	b.overloads++
	return wait(ctx, overloadPace().nth(b.overloads))
}

// nth returns the nth wait, from 1 up, with jitter: between a half and all of it.
func (p pace) nth(n int) time.Duration {
	d := p.first
	for ; n > 1 && d < p.last; n-- {
		d *= 2
	}
	d = min(d, p.last)
	return d/2 + rand.N(d/2+1)
}

// wait returns the context's error if that ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ctx.Err()
	}
}
