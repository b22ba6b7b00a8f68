package shardgroup

import (
	"errors"
	"fmt"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// ackGroup is acks of streams in one range.
type ackGroup struct {
	ref  *clusterv1.RangeRef
	acks []*raftlogv1.TransferAck
}

// byRange divides acks by the ranges of their streams.
func (v outboxView) byRange(acks []*raftlogv1.TransferAck) []ackGroup {
	var groups []ackGroup
	places := map[uint64]int{}
	for _, ack := range acks {
		r := v.streamRange(ack.GetStream())
		if r == nil {
			continue // the stream has gone; its outbox went with it
		}
		place, known := places[r.GetRangeId()]
		if !known {
			place = len(groups)
			places[r.GetRangeId()] = place
			groups = append(groups, ackGroup{ref: &clusterv1.RangeRef{Keyspace: r.GetKeyspace(), Lo: r.GetLo(), Hi: r.GetHi(), Epoch: r.GetEpoch()}})
		}
		groups[place].acks = append(groups[place].acks, ack)
	}
	return groups
}

// ackAll has the group forget what was accepted elsewhere.
func (t *tour) ackAll(groups []ackGroup) error {
	var errs []error
	for _, g := range groups {
		errs = append(errs, t.ack(g.ref, g.acks))
	}
	return errors.Join(errs...)
}

// ack proposes acks. Those that are refused must not hold up others.
func (t *tour) ack(ref *clusterv1.RangeRef, acks []*raftlogv1.TransferAck) error {
	payload, err := (&raftlogv1.AckTransfers{Acks: acks}).MarshalVT()
	if err != nil {
		return err
	}
	t.node.reached("before ack")
	result, err := t.group.Propose(t.ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_ACK_TRANSFERS, RequestId: newRequestID(), Range: ref, Payload: payload,
	})
	if err != nil {
		return err
	}
	t.node.reached("acked")
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK, raftlogv1.Result_STATUS_ALREADY:
		t.metrics.acked.Add(float64(len(acks)))
		return nil
	case raftlogv1.Result_STATUS_ROUTE:
		return &statemachine.RouteRefusal{Detail: result.GetRoute()}
	case raftlogv1.Result_STATUS_CONFLICT:
		if half := len(acks) / 2; half > 0 {
			return errors.Join(t.ack(ref, acks[:half]), t.ack(ref, acks[half:]))
		}
	}
	return fmt.Errorf("%w: ack of transfer %d of stream %d to tenant %.128q: %s: %s", ErrRefused,
		acks[0].GetNumber(), acks[0].GetStream(), acks[0].GetTenant(), result.GetStatus(), result.GetMessage())
}

// reached tells tests how far a transfer is.
func (n *Node) reached(step string) {
	if n.options.transfer != nil {
		n.options.transfer(step)
	}
}
