package statemachine

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/accepted"
	"github.com/skerrydb/skerry/statemachine/outbox"
)

// transfersPerLook is the number of transfers between two looks at the context.
const transfersPerLook = 256

// TransferPosition is that of a transfer in the order of a group: stream by
// stream, as they were made. The zero position is before all.
type TransferPosition = outbox.Position

// PendingTransfers reads what waits in the outboxes of the group's streams: a
// *Pending.
type PendingTransfers struct {
	Context context.Context
	// What is returned lies behind it.
	After TransferPosition
	// Bounds of the blocks' encoded size and of the number of transfers; 0 for
	// none. A transfer that is larger comes alone.
	MaxBytes     int
	MaxTransfers int
	// Passes over transfers whose destination is not to be served; nil for none.
	// It must give one answer for a stream and tenant: their chain must not break.
	Skip func(stream uint32, tenant string) bool
}

// Pending is transfers, ready to be sent. Those of a stream and tenant are in
// order, without gaps.
type Pending struct {
	Transfers []PendingTransfer
	// There may be more, behind the last one.
	More bool
}

// PendingTransfer is a transfer that waits.
type PendingTransfer struct {
	At       TransferPosition
	Transfer *raftlogv1.OutgoingTransfer
	// Log time at which it was made, Unix nanoseconds.
	MadeAt int64
	// Encoded size of the blocks.
	Bytes int
}

func (q PendingTransfers) read(v *view) (any, error) {
	table := outbox.NewView(v.tx)
	pending, size, looked := &Pending{}, 0, 0
	for at, err := range table.After(q.After) {
		if looked++; err == nil && looked%transfersPerLook == 0 {
			err = q.Context.Err()
		}
		if err != nil {
			return nil, err
		}
		if q.Skip != nil && q.Skip(at.Stream, at.Tenant) {
			continue
		}
		if q.MaxTransfers > 0 && len(pending.Transfers) == q.MaxTransfers {
			pending.More = true
			break
		}
		one, err := q.one(v, table, at)
		if err != nil {
			return nil, err
		}
		if size += one.Bytes; q.MaxBytes > 0 && size > q.MaxBytes && len(pending.Transfers) > 0 {
			pending.More = true
			break
		}
		pending.Transfers = append(pending.Transfers, one)
	}
	return pending, nil
}

func (q PendingTransfers) one(v *view, table outbox.View, at TransferPosition) (PendingTransfer, error) {
	transfer, err := table.Get(at)
	if err != nil {
		return PendingTransfer{}, err
	}
	stream, err := table.Stream(at.Stream)
	if err != nil {
		return PendingTransfer{}, err
	}
	one := PendingTransfer{At: at, MadeAt: transfer.GetMadeAt(), Transfer: &raftlogv1.OutgoingTransfer{
		Stream: at.Stream, Incarnation: stream.Incarnation, Tenant: at.Tenant,
		Previous: transfer.GetPrevious(), Number: at.Number, DeletedUntil: transfer.GetDeletedUntil(),
	}}
	ids, err := parseIDs(transfer.GetBlocks())
	if err != nil {
		return one, err
	}
	err = v.index.OutboxEntries(q.Context, at.Tenant, at.Stream, ids, func(encoded []byte) error {
		block := &metastorev1.BlockMeta{}
		one.Transfer.Blocks = append(one.Transfer.Blocks, block)
		one.Bytes += len(encoded)
		return block.UnmarshalVT(encoded)
	})
	if err == nil && len(one.Transfer.Blocks) != len(ids) {
		err = fmt.Errorf("transfer %d of stream %d to %q has %d blocks, the index %d of them: inspect the store",
			at.Number, at.Stream, at.Tenant, len(ids), len(one.Transfer.Blocks))
	}
	return one, err
}

// OutboxTotals returns []OutboxTotal: the group's streams that have made
// transfers, by their points.
type OutboxTotals struct{}

// OutboxTotal sums up what waits in the outbox of a stream.
type OutboxTotal struct {
	Stream      uint32
	Incarnation uint64
	// Transfers, their blocks, and the bytes of the blocks' metadata.
	Transfers, Blocks, Bytes uint64
	// Log time at which the one was made that waits longest; 0 for none.
	Oldest int64
}

func (OutboxTotals) read(v *view) (any, error) {
	table := outbox.NewView(v.tx)
	var totals []OutboxTotal
	for s, err := range table.Streams() {
		if err != nil {
			return nil, err
		}
		total := OutboxTotal{Stream: s.Shard, Incarnation: s.Incarnation, Transfers: s.Transfers, Blocks: s.Blocks, Bytes: s.Bytes}
		if s.Transfers > 0 {
			oldest, err := oldestOf(table, s.Shard)
			if err != nil {
				return nil, err
			}
			total.Oldest = oldest
		}
		totals = append(totals, total)
	}
	return totals, nil
}

func oldestOf(table outbox.View, stream uint32) (int64, error) {
	for at, err := range table.Of(TransferPosition{Stream: stream}) {
		if err != nil {
			return 0, err
		}
		transfer, err := table.Get(at)
		return transfer.GetMadeAt(), err
	}
	return 0, nil
}

// OutboxChains returns []OutboxChain, the ones that wait longest first.
type OutboxChains struct{ Context context.Context }

// OutboxChain is what waits for one tenant in the outbox of one stream.
type OutboxChain struct {
	Stream            uint32
	Tenant            string
	Transfers, Blocks uint64
	// Log time at which the first one was made, Unix nanoseconds.
	Oldest int64
}

func (q OutboxChains) read(v *view) (any, error) {
	table, places := outbox.NewView(v.tx), map[chainOf]int{}
	var chains []OutboxChain
	looked := 0
	for at, err := range table.After(TransferPosition{}) {
		if looked++; err == nil && looked%transfersPerLook == 0 {
			err = q.Context.Err()
		}
		if err != nil {
			return nil, err
		}
		transfer, err := table.Get(at)
		if err != nil {
			return nil, err
		}
		of := chainOf{at.Stream, at.Tenant}
		place, known := places[of]
		if !known {
			place = len(chains)
			places[of] = place
			chains = append(chains, OutboxChain{Stream: at.Stream, Tenant: at.Tenant, Oldest: transfer.GetMadeAt()})
		}
		chains[place].Transfers++
		chains[place].Blocks += uint64(len(transfer.GetBlocks()))
	}
	slices.SortStableFunc(chains, func(a, b OutboxChain) int { return cmp.Compare(a.Oldest, b.Oldest) })
	return chains, nil
}

// watermarks tell how far transfers to tenants are, as far as the spans go.
func (v *view) watermarks(spans []*clusterv1.RangeRef, tenants ...string) (*nodev1.Watermarks, error) {
	marks := &nodev1.Watermarks{}
	table := outbox.NewView(v.tx)
	for _, tenant := range slices.Compact(slices.Sorted(slices.Values(tenants))) {
		if tenant == "" {
			continue
		}
		for mark, err := range table.Watermarks(spans, tenant) {
			if err != nil {
				return nil, err
			}
			marks.Issued = append(marks.Issued, &nodev1.IssuedWatermark{
				Stream: mark.Stream, Tenant: tenant, Incarnation: mark.Incarnation, Issued: mark.Issued, Finished: mark.Finished,
			})
		}
		for mark, err := range accepted.Of(v.tx, spans, tenant) {
			if err != nil {
				return nil, err
			}
			marks.Accepted = append(marks.Accepted, &nodev1.AcceptedWatermark{
				Stream: mark.Stream, Tenant: tenant, Incarnation: mark.Incarnation, Accepted: mark.Number,
			})
		}
	}
	slices.SortFunc(marks.Issued, func(a, b *nodev1.IssuedWatermark) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Tenant, b.Tenant))
	})
	slices.SortFunc(marks.Accepted, func(a, b *nodev1.AcceptedWatermark) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Tenant, b.Tenant))
	})
	return marks, nil
}

// transferNumbers finds the transfers that blocks wait in. What was read of a
// chain is kept.
type transferNumbers struct {
	table outbox.View
	known map[chainOf]map[string]uint64
}

type chainOf struct {
	stream uint32
	tenant string
}

func (n *transferNumbers) of(stream uint32, tenant, id string) (uint64, error) {
	numbers := n.known[chainOf{stream, tenant}]
	if numbers == nil {
		numbers = map[string]uint64{}
		for entry, err := range n.table.Chain(stream, tenant) {
			if err != nil {
				return 0, err
			}
			for _, block := range entry.GetBlocks() {
				numbers[block] = entry.Number
			}
		}
		n.known[chainOf{stream, tenant}] = numbers
	}
	number := numbers[id]
	if number == 0 {
		return 0, fmt.Errorf("block %s of tenant %q waits in stream %d without a transfer: inspect the store", id, tenant, stream)
	}
	return number, nil
}
