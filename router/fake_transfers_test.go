package router

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// fakeTransfers is what the groups of a fake cluster know of transfers. Its rows
// lie at the points of the streams and of the tenants' shards, as in groups, and
// so move with the ranges.
type fakeTransfers struct {
	numbers  map[uint32]uint64 // the last transfer of each stream
	issued   map[transferPair]*nodev1.IssuedWatermark
	accepted map[transferPair]watermark
	outbox   map[string]fakeWaiting // by blockKey
}

type fakeWaiting struct {
	pair     transferPair
	transfer uint64
	block    *metastorev1.BlockMeta
}

func newFakeTransfers() fakeTransfers {
	return fakeTransfers{
		numbers: map[uint32]uint64{}, issued: map[transferPair]*nodev1.IssuedWatermark{},
		accepted: map[transferPair]watermark{}, outbox: map[string]fakeWaiting{},
	}
}

// TransferStatus lists blocks that wait, one transfer each.
func (n *fakeNode) TransferStatus(ctx context.Context, in *nodev1.TransferStatusRequest) (*nodev1.TransferStatusResponse, error) {
	if err := n.check(ctx, waitingCall, in.GetGroupId(), in); err != nil {
		return nil, err
	}
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := &nodev1.TransferStatusResponse{}
	for _, key := range slices.Sorted(maps.Keys(c.transfers.outbox)) {
		pair := c.transfers.outbox[key].pair
		if c.truth.Lookup(clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.StreamPoint(pair.stream)).GetGroupId() == in.GetGroupId() {
			answer.Transfers++
			answer.Outboxes = append(answer.Outboxes, &nodev1.OutboxInfo{Stream: pair.stream, Tenant: pair.tenant, Transfers: 1, Blocks: 1})
		}
	}
	return answer, nil
}

// issue is the completion of a stream's job: its segments go, and blocks of
// tenants, all of the stream's shard, wait in the outbox. It returns the number.
func (c *fakeCluster) issue(stream uint32, segments []*metastorev1.BlockMeta, blocks ...*metastorev1.BlockMeta) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, segment := range segments {
		c.remove(segment)
	}
	tr := &c.transfers
	tr.numbers[stream]++
	x := tr.numbers[stream]
	for _, block := range blocks {
		pair := transferPair{stream, block.TenantName()}
		row := tr.issued[pair]
		if row == nil {
			row = &nodev1.IssuedWatermark{Stream: stream, Tenant: pair.tenant, Incarnation: 1}
		}
		row = proto.Clone(row).(*nodev1.IssuedWatermark)
		row.Issued = x
		tr.issued[pair] = row
		tr.outbox[blockKey(block)] = fakeWaiting{pair, x, block}
	}
	return x
}

// oldest returns the number of the pair's first transfer that is not accepted, or
// 0, and its blocks.
func (c *fakeCluster) oldest(pair transferPair) (x uint64, blocks []*metastorev1.BlockMeta) {
	for _, waiting := range c.transfers.outbox {
		if at := waiting.transfer; waiting.pair == pair && at > c.transfers.accepted[pair].number {
			if x == 0 || at < x {
				x, blocks = at, nil
			}
			if at == x {
				blocks = append(blocks, waiting.block)
			}
		}
	}
	return x, blocks
}

// accept takes over the pair's oldest transfer.
func (c *fakeCluster) accept(pair transferPair) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, blocks := c.oldest(pair)
	if x == 0 {
		return
	}
	for _, block := range blocks {
		c.blocks[blockKey(block)] = block
	}
	c.order = slices.Sorted(maps.Keys(c.blocks))
	c.transfers.accepted[pair] = watermark{1, x}
}

// finish forgets in the stream what the tenant has accepted.
func (c *fakeCluster) finish(pair transferPair) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.transfers.accepted[pair].number
	if c.transfers.issued[pair] == nil || at == 0 {
		return
	}
	maps.DeleteFunc(c.transfers.outbox, func(_ string, waiting fakeWaiting) bool {
		return waiting.pair == pair && waiting.transfer <= at
	})
	row := proto.Clone(c.transfers.issued[pair]).(*nodev1.IssuedWatermark)
	row.Finished = at
	c.transfers.issued[pair] = row
}

// deliver is accept and finish.
func (c *fakeCluster) deliver(pair transferPair) {
	c.accept(pair)
	c.finish(pair)
}

// remove takes a block out of the index. The lock must be held.
func (c *fakeCluster) remove(block *metastorev1.BlockMeta) {
	delete(c.blocks, blockKey(block))
	c.order = slices.Sorted(maps.Keys(c.blocks))
}

func (tr *fakeTransfers) watermarks(tenants []string, refs []*clusterv1.RangeRef) *nodev1.Watermarks {
	marks := &nodev1.Watermarks{}
	for pair, row := range tr.issued {
		if slices.Contains(tenants, pair.tenant) && refer(refs, "", pair.stream) {
			marks.Issued = append(marks.Issued, row)
		}
	}
	for pair, at := range tr.accepted {
		if slices.Contains(tenants, pair.tenant) && refer(refs, pair.tenant, pair.stream) {
			marks.Accepted = append(marks.Accepted, &nodev1.AcceptedWatermark{
				Stream: pair.stream, Tenant: pair.tenant, Incarnation: at.incarnation, Accepted: at.number,
			})
		}
	}
	slices.SortFunc(marks.Issued, func(a, b *nodev1.IssuedWatermark) int {
		return cmp.Or(cmp.Compare(a.GetStream(), b.GetStream()), cmp.Compare(a.GetTenant(), b.GetTenant()))
	})
	slices.SortFunc(marks.Accepted, func(a, b *nodev1.AcceptedWatermark) int {
		return cmp.Or(cmp.Compare(a.GetStream(), b.GetStream()), cmp.Compare(a.GetTenant(), b.GetTenant()))
	})
	return marks
}

func (tr *fakeTransfers) waiting(tenants []string, refs []*clusterv1.RangeRef) (blocks []*nodev1.EncodedBlock) {
	for _, waiting := range tr.outbox {
		if slices.Contains(tenants, waiting.pair.tenant) && refer(refs, "", waiting.pair.stream) {
			blocks = append(blocks, &nodev1.EncodedBlock{
				Tenant: waiting.pair.tenant, Shard: waiting.pair.stream, Id: waiting.block.GetId(),
				Block: encode(waiting.block), Transfer: waiting.transfer,
			})
		}
	}
	return blocks
}
