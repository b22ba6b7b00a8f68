package statemachine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/accepted"
	"github.com/skerrydb/skerry/statemachine/deletions"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/outbox"
	"github.com/skerrydb/skerry/statemachine/queue"
)

var errTransfer = errors.New("malformed transfer")

// acceptTransfers takes over blocks that streams made of tenants: those of each
// stream and tenant in order, and once. What comes too early or again changes
// nothing. The result tells of each how far its stream and tenant are.
func acceptTransfers(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	request := &raftlogv1.AcceptTransfers{}
	if err := request.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	for _, transfer := range request.GetTransfers() {
		if err := checkTransfer(transfer, command.GetRange()); err != nil {
			return invalid(err), nil
		}
	}
	if refused := u.owns(command.GetRange()); refused != nil {
		return refused, nil
	}
	if _, err := u.openCompaction(); err != nil {
		return nil, err
	}
	outcomes := &raftlogv1.AcceptOutcomes{}
	budget := deletionShards
	for _, transfer := range request.GetTransfers() {
		mark, err := u.acceptTransfer(transfer, &budget)
		if err != nil {
			return nil, fmt.Errorf("transfer %d of stream %d to %q: %w", transfer.GetNumber(), transfer.GetStream(), transfer.GetTenant(), err)
		}
		outcomes.Outcomes = append(outcomes.Outcomes, &raftlogv1.AcceptOutcome{Incarnation: mark.Incarnation, Accepted: mark.Number})
	}
	payload, err := outcomes.MarshalVT()
	result := ok()
	result.Payload = payload
	return result, err
}

// checkTransfer demands that a transfer lies in the command's span, and that its
// blocks can be stored and are the tenant's.
func checkTransfer(transfer *raftlogv1.OutgoingTransfer, span *clusterv1.RangeRef) error {
	stream, tenant := transfer.GetStream(), transfer.GetTenant()
	if tenant == "" || len(tenant) > metastorev1.MaxTenantBytes {
		return fmt.Errorf("%w: the tenant's name has %d bytes", errTransfer, len(tenant))
	}
	if transfer.GetIncarnation() == 0 || transfer.GetPrevious() >= transfer.GetNumber() {
		return fmt.Errorf("%w: number %d after %d of incarnation %d", errTransfer, transfer.GetNumber(), transfer.GetPrevious(), transfer.GetIncarnation())
	}
	keyspace, point := clusterv1.BlockPoint(tenant, stream)
	if span.GetKeyspace() != keyspace || !span.Contains(point) {
		return ErrWrongSpan
	}
	for _, block := range transfer.GetBlocks() {
		if err := metastorev1.ValidateBlock(block); err != nil {
			return err
		}
		if block.TenantName() != tenant || block.GetShard() != stream {
			return fmt.Errorf("%w: block %s of tenant %q, shard %d in one of tenant %q, stream %d", errTransfer,
				block.GetId(), block.TenantName(), block.GetShard(), tenant, stream)
		}
	}
	return nil
}

// acceptTransfer files the blocks of a transfer if it is the next one, and
// returns the last one that is accepted. A deletion that comes before it is carried out
// first, as far as the budget goes; a transfer that is left for that will be sent again.
func (u *update) acceptTransfer(transfer *raftlogv1.OutgoingTransfer, budget *int) (accepted.Mark, error) {
	stream, tenant, incarnation := transfer.GetStream(), transfer.GetTenant(), transfer.GetIncarnation()
	mark, err := accepted.Get(u.tx, stream, tenant)
	if err != nil {
		return mark, err
	}
	next := accepted.Mark{Incarnation: incarnation, Number: transfer.GetNumber()}
	if next.Compare(mark) <= 0 {
		return mark, nil // again
	}
	previous := accepted.Mark{Incarnation: incarnation, Number: transfer.GetPrevious()}
	if previous.Number > 0 && previous.Compare(mark) > 0 {
		return mark, nil // too early
	}
	if done, err := u.deleteFirst(stream, tenant, &mark, transfer.GetDeletedUntil(), budget); err != nil || !done {
		return mark, err
	}
	next.DeletedUntil = mark.DeletedUntil
	deletion, err := deletions.Get(u.tx, clusterv1.Keyspace_KEYSPACE_TENANT, tenant)
	if err != nil {
		return mark, err
	}
	late := map[uint32][]string{}
	for _, block := range transfer.GetBlocks() {
		id, err := metastorev1.ParseID(block.GetId())
		if err != nil {
			return mark, err
		}
		if u.tables.tombstones.Compacted(tenant, stream, id) {
			continue // its object goes already, or its data is in another block
		}
		// What the stream's group knew to be deleted is not in the block.
		deleted := deletion.GetUntil() > transfer.GetDeletedUntil() && id.Time() <= deletion.GetUntil()
		if deleted || u.tables.tombstones.Buried(tenant, stream, index.PartitionOf(id)) {
			late[block.GetCompactionLevel()] = append(late[block.GetCompactionLevel()], block.GetId())
			continue
		}
		if err := u.take(id, block); err != nil {
			return mark, err
		}
	}
	for _, level := range slices.Sorted(maps.Keys(late)) {
		if err := u.tooLate(tenant, stream, level, late[level]); err != nil {
			return mark, err
		}
	}
	return next, accepted.Put(u.tx, stream, tenant, next)
}

// take files a tenant's block, and queues it for compaction.
func (u *update) take(id ulid.ULID, block *metastorev1.BlockMeta) error {
	tenant, shard, level := block.TenantName(), block.GetShard(), block.GetCompactionLevel()
	added, err := u.fileBlock(index.KeyOf(id, tenant, shard), id, block)
	if err != nil || !added || level >= queue.Levels {
		return err
	}
	return u.tables.queue.Push(queue.Key{Tenant: tenant, Shard: shard, Level: level}, id, u.header.logTime)
}

// ackTransfers forgets transfers that were accepted, with their blocks: these are
// in the tenants' groups now, so there are no tombstones. It forgets all that it
// names or, if one is not of this state, none.
func ackTransfers(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	request := &raftlogv1.AckTransfers{}
	if err := request.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	span := command.GetRange()
	for _, ack := range request.GetAcks() {
		if ack.GetTenant() == "" || len(ack.GetTenant()) > metastorev1.MaxTenantBytes || ack.GetNumber() == 0 {
			return invalid(fmt.Errorf("%w: number %d, the tenant's name has %d bytes", errTransfer, ack.GetNumber(), len(ack.GetTenant()))), nil
		}
		if span.GetKeyspace() != clusterv1.Keyspace_KEYSPACE_STREAM || !span.Contains(clusterv1.StreamPoint(ack.GetStream())) {
			return invalid(ErrWrongSpan), nil
		}
	}
	if refused := u.owns(span); refused != nil {
		return refused, nil
	}
	tables, err := u.openCompaction()
	if err != nil {
		return nil, err
	}
	news := false
	for _, ack := range request.GetAcks() {
		fresh, err := tables.outbox.Check(ack.GetStream(), ack.GetIncarnation(), ack.GetTenant(), ack.GetNumber())
		switch {
		case errors.Is(err, outbox.ErrIncarnation), errors.Is(err, outbox.ErrNotIssued):
			return conflict("%v", err), nil
		case err != nil:
			return nil, err
		}
		news = news || fresh
	}
	if !news {
		return already(), nil
	}
	for _, ack := range request.GetAcks() {
		if err := u.forgetTransfers(ack); err != nil {
			return nil, fmt.Errorf("stream %d to %q: %w", ack.GetStream(), ack.GetTenant(), err)
		}
	}
	return ok(), nil
}

func (u *update) forgetTransfers(ack *raftlogv1.TransferAck) error {
	stream, tenant := ack.GetStream(), ack.GetTenant()
	blocks, err := u.tables.outbox.Finish(stream, tenant, ack.GetNumber())
	if err != nil {
		return err
	}
	ids, err := parseIDs(blocks)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := u.removeBlock(index.OutboxKey(id, tenant, stream), id); err != nil {
			return err
		}
	}
	// Where the tenant's blocks are now, its bounds are, too.
	for _, id := range ids {
		if err := u.index.Tidy(index.OutboxKey(id, tenant, stream)); err != nil {
			return err
		}
	}
	return nil
}
