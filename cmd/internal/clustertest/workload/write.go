package workload

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/history"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const (
	// Attempts that a writer makes, at most, before it leaves a block alone whose
	// fate is unknown.
	triesMax = 8
	// One add of so many repeats one that is done: what compaction has replaced
	// must not come back.
	repeatEach = 20
	// Only the youngest are repeated: groups remember what compaction replaced for 15
	// minutes, and then a repeat is a new block, as in Pyroscope.
	recent = 200
)

// write adds a block, a new one or one whose addition failed.
func (c *client) write(ctx context.Context) {
	a := c.pending
	switch {
	case a != nil:
	case c.random.IntN(repeatEach) == 0:
		a = c.old()
	case c.random.IntN(3) == 0:
		tenant := uint32(c.random.IntN(c.options.Tenants))
		a = c.tenantBlock(uint32(c.options.Tenants)+tenant, c.blocks[tenant].Add(1)-1)
	default:
		a = c.segment(c.segments.Add(1) - 1)
	}
	c.pending = nil
	if err := c.add(ctx, a); err != nil && a.tries < triesMax && status.Code(err) != codes.InvalidArgument {
		c.pending = a
	}
}

// old is a block that somebody has begun to add, not long ago.
func (c *client) old() *addition {
	if count := c.segments.Load(); count > 0 && c.random.IntN(2) == 0 {
		return c.segment(count - 1 - c.random.Uint32N(min(count, recent)))
	}
	tenant := uint32(c.random.IntN(c.options.Tenants))
	if count := c.blocks[tenant].Load(); count > 0 {
		return c.tenantBlock(uint32(c.options.Tenants)+tenant, count-1-c.random.Uint32N(min(count, recent)))
	}
	return c.segment(c.segments.Add(1) - 1)
}

func (c *client) add(ctx context.Context, a *addition) error {
	a.tries++
	began, conn := c.clock.Now(), c.conn()
	err := c.call(ctx, "add", func(ctx context.Context) error {
		_, err := c.index(conn).AddBlock(ctx, &metastorev1.AddBlockRequest{Block: a.block})
		return err
	})
	ended := history.Unknown
	if err == nil {
		ended = c.clock.Now()
	}
	for _, datum := range a.data {
		c.Data.Add(history.Add{Datum: datum, Point: a.point, Call: began, Return: ended})
	}
	return err
}
