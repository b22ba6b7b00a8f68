package shardgroup

import (
	"context"
	"fmt"
	"iter"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"

	"github.com/skerrydb/skerry/shardgroup/delivery"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/statemachine/outbox"
)

// outboxView shows the outboxes of one state to the delivery loop. It must not be
// used after Inspect's function returned.
type outboxView struct {
	statemachine.View
	context context.Context
}

var _ delivery.Outbox = outboxView{}

// Streams is for delivery.
func (v outboxView) Streams() iter.Seq2[delivery.Stream, error] {
	return listed(v.Outbox.Streams(), func(s outbox.Listed) delivery.Stream {
		return delivery.Stream{Stream: s.Shard, Incarnation: s.Incarnation, Last: s.Last, Waiting: s.Transfers > 0}
	})
}

// After is for delivery.
func (v outboxView) After(after delivery.Position) iter.Seq2[delivery.Position, error] {
	return listed(v.Outbox.Of(outbox.Position(after)), func(at outbox.Position) delivery.Position { return delivery.Position(at) })
}

// Chain is for delivery.
func (v outboxView) Chain(pair delivery.Pair) iter.Seq2[delivery.Row, error] {
	stream, err := v.Outbox.Stream(pair.Stream)
	if err != nil {
		return failing[delivery.Row](err)
	}
	return listed(v.Outbox.Chain(pair.Stream, pair.Tenant), func(e outbox.Entry) delivery.Row {
		return delivery.Row{Position: delivery.Position(e.Position), Incarnation: stream.Incarnation, Transfer: e.Transfer}
	})
}

// Load is for delivery.
func (v outboxView) Load(row delivery.Row) ([]*metastorev1.BlockMeta, error) {
	ids := make([]ulid.ULID, len(row.GetBlocks()))
	for i, text := range row.GetBlocks() {
		var err error
		if ids[i], err = metastorev1.ParseID(text); err != nil {
			return nil, fmt.Errorf("%w: %w", delivery.ErrBroken, err)
		}
	}
	var blocks []*metastorev1.BlockMeta
	err := v.Index.OutboxEntries(v.context, row.Tenant, row.Stream, ids, func(encoded []byte) error {
		block := &metastorev1.BlockMeta{}
		blocks = append(blocks, block)
		return block.UnmarshalVT(encoded)
	})
	if err == nil && len(blocks) != len(ids) {
		err = fmt.Errorf("%w: transfer %d of stream %d to tenant %.128q has %d blocks, the index %d of them: inspect the store",
			delivery.ErrBroken, row.Number, row.Stream, row.Tenant, len(ids), len(blocks))
	}
	return blocks, err
}

// streamRange returns the group's range that holds a stream; nil if none does.
func (v outboxView) streamRange(stream uint32) *clusterv1.Range {
	for _, r := range v.Ranges {
		if r.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM && r.Contains(clusterv1.StreamPoint(stream)) {
			return r
		}
	}
	return nil
}
