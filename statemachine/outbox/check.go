package outbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/skerrydb/skerry/statemachine/ordered"
	"github.com/skerrydb/skerry/storage/kv"
)

// Block is a block that waits, by what names it in the outbox.
type Block struct {
	Stream     uint32
	Tenant, ID string
}

// Check compares the outbox with itself and with the blocks that wait in the
// index. It calls report for each fault, and returns an error only if the context
// ends.
//
// Faults are told apart by the invariant that they break: each transfer has its
// row in the order, and each such row its transfer (order); the transfers of a
// stream and tenant lead from the last finished one to the last issued one
// without a gap (chain); a tenant's rows say the same in both places (tenants);
// a stream sums up what waits (sums); each block of a transfer is in the index,
// and each that waits there is in one transfer (blocks).
func Check(ctx context.Context, tx *kv.Tx, waiting map[Block]bool, report func(fault error)) error {
	c := &checker{rows: tx.Bucket(rowsName), waiting: maps.Clone(waiting), report: report, sums: map[uint32]Stream{}, ends: map[chainID]link{}}
	if c.rows != nil {
		for _, step := range []struct {
			tag byte
			fn  func(k, stored []byte) error
		}{
			{tagEntry, c.entry}, {tagOrder, c.order}, {tagStream, c.stream}, {tagTenant, c.tenant}, {tagOwner, c.owner},
		} {
			for k, stored := range (View{c.rows}).scan([]byte{step.tag}) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := step.fn(k, stored); err != nil {
					report(err)
				}
			}
		}
	}
	c.left()
	return ctx.Err()
}

type chainID struct {
	stream uint32
	tenant string
}

// link is what the entries of a chain that were seen lead from and to.
type link struct{ from, to uint64 }

type checker struct {
	rows    *kv.Bucket
	waiting map[Block]bool
	report  func(error)
	// Of what was seen, until the stream's or the tenant's row is.
	sums map[uint32]Stream
	ends map[chainID]link
}

func (c *checker) fault(invariant, format string, args ...any) {
	c.report(fmt.Errorf("outbox: %s: %w", invariant, fmt.Errorf(format, args...)))
}

func (c *checker) entry(k, stored []byte) error {
	shard, rest, err := shardOf(k)
	if err != nil {
		return err
	}
	tenant, number, ok := ordered.Cut(rest)
	if !ok || len(number) != 8 {
		return fmt.Errorf("%w: entry %x", errRow, k)
	}
	transfer, err := decodeTransfer(stored)
	if err != nil {
		return err
	}
	x := binary.BigEndian.Uint64(number)
	if !c.has(orderKey(shard, x, tenant)) {
		c.fault("order", "no row for transfer %d of stream %d to %q", x, shard, tenant)
	}
	id := chainID{shard, tenant}
	end, begun := c.ends[id]
	if begun && end.to != transfer.GetPrevious() {
		c.fault("chain", "transfer %d of stream %d to %q follows %d, and says %d", x, shard, tenant, end.to, transfer.GetPrevious())
	}
	if !begun {
		end.from = transfer.GetPrevious()
	}
	end.to = x
	c.ends[id] = end
	sum := c.sums[shard]
	sum.Transfers++
	sum.Blocks += uint64(len(transfer.GetBlocks()))
	sum.Bytes += transfer.GetBytes()
	sum.Last = max(sum.Last, x)
	c.sums[shard] = sum
	for _, block := range transfer.GetBlocks() {
		of := Block{shard, tenant, block}
		if !c.waiting[of] {
			c.fault("blocks", "block %s of transfer %d of stream %d to %q is not in the index, or in two transfers", block, x, shard, tenant)
		}
		delete(c.waiting, of)
	}
	return nil
}

// has tells of a row that may be empty whether it is there.
func (c *checker) has(key []byte) bool {
	k, _ := c.rows.Cursor().Seek(key)
	return string(k) == string(key)
}

func (c *checker) order(k, _ []byte) error {
	at, err := decodeOrder(k)
	if err == nil && !c.has(entryKey(at.Stream, at.Tenant, at.Number)) {
		c.fault("order", "transfer %d of stream %d to %q is in the order only", at.Number, at.Stream, at.Tenant)
	}
	return err
}

func (c *checker) stream(k, stored []byte) error {
	shard, rest, err := shardOf(k)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("%w: stream %x", errRow, k)
	}
	s, err := decodeStream(stored)
	if err != nil {
		return err
	}
	seen := c.sums[shard]
	delete(c.sums, shard)
	if s.Transfers != seen.Transfers || s.Blocks != seen.Blocks || s.Bytes != seen.Bytes || s.Last < seen.Last || s.Incarnation == 0 {
		c.fault("sums", "stream %d says %+v, there is %+v", shard, s, seen)
	}
	return nil
}

func (c *checker) tenant(k, stored []byte) error {
	shard, rest, err := shardOf(k)
	if err != nil {
		return err
	}
	id := chainID{shard, string(rest)}
	p, err := decodeProgress(stored)
	if err != nil {
		return err
	}
	end, waits := c.ends[id]
	delete(c.ends, id)
	if !waits {
		end = link{p.Finished, p.Finished}
	}
	if p.Issued == 0 || end != (link{p.Finished, p.Issued}) {
		c.fault("chain", "stream %d to %q has finished %d and issued %d, what waits leads from %d to %d", shard, id.tenant, p.Finished, p.Issued, end.from, end.to)
	}
	if got := c.rows.Get(append(ownerKey(id.tenant), k[1:streamSize]...)); string(got) != string(stored) {
		c.fault("tenants", "stream %d to %q: %x in one place, %x in the other", shard, id.tenant, stored, got)
	}
	return nil
}

func (c *checker) owner(k, stored []byte) error {
	tenant, stream, ok := ordered.Cut(k[1:])
	if !ok || len(stream) != streamSize-1 {
		return fmt.Errorf("%w: tenant %x", errRow, k)
	}
	key := append(append([]byte{tagTenant}, stream...), tenant...)
	if got := c.rows.Get(key); string(got) != string(stored) {
		c.fault("tenants", "tenant %q: %x in one place, %x in the other", tenant, stored, got)
	}
	return nil
}

// left reports what no row accounts for.
func (c *checker) left() {
	for _, stream := range slices.Sorted(maps.Keys(c.sums)) {
		c.fault("sums", "stream %d has no row, and %d transfers", stream, c.sums[stream].Transfers)
	}
	var faults []string
	for id, end := range c.ends {
		faults = append(faults, fmt.Sprintf("chain: stream %d to %q has no row, what waits leads from %d to %d", id.stream, id.tenant, end.from, end.to))
	}
	for block := range c.waiting {
		faults = append(faults, fmt.Sprintf("blocks: block %s of tenant %q waits in stream %d, and is in no transfer", block.ID, block.Tenant, block.Stream))
	}
	slices.Sort(faults)
	for _, fault := range faults {
		c.report(fmt.Errorf("outbox: %s", fault))
	}
}
