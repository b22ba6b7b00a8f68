package statemachine

import (
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/index"
)

var errTombstone = errors.New("malformed tombstone")

// importTombstones holds tombstones that another metastore had. One that is held
// already stays as it is. One for objects of blocks in the index would take what
// queries find: it is left out, whatever the other metastore thought.
func importTombstones(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	request := &raftlogv1.ImportTombstones{}
	if err := request.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	names := map[string]bool{}
	for _, tombstone := range request.GetTombstones() {
		if err := checkTombstone(tombstone, command.GetRange()); err != nil {
			return invalid(err), nil
		}
		if names[tombstone.GetName()] {
			return invalid(fmt.Errorf("%w: two of the name %.128q", errTombstone, tombstone.GetName())), nil
		}
		names[tombstone.GetName()] = true
	}
	if refused := u.owns(command.GetRange()); refused != nil {
		return refused, nil
	}
	if _, err := u.openCompaction(); err != nil {
		return nil, err
	}
	outcomes := &raftlogv1.ImportOutcomes{}
	for _, tombstone := range request.GetTombstones() {
		outcome, err := u.importTombstone(tombstone)
		if err != nil {
			return nil, fmt.Errorf("tombstone %.128q: %w", tombstone.GetName(), err)
		}
		outcomes.Outcomes = append(outcomes.Outcomes, outcome)
	}
	payload, err := outcomes.MarshalVT()
	result := ok()
	result.Payload = payload
	return result, err
}

// checkTombstone demands that a tombstone lies in the command's span, and stands
// for something that can be deleted.
func checkTombstone(t *raftlogv1.Tombstone, span *clusterv1.RangeRef) error {
	if n := len(t.GetName()); n == 0 || n > maxNameBytes {
		return fmt.Errorf("%w: its name has %d bytes", errTombstone, n)
	}
	if n := len(t.GetTenant()); n > metastorev1.MaxTenantBytes {
		return fmt.Errorf("%w %.128q: the tenant's name has %d bytes", errTombstone, t.GetName(), n)
	}
	keyspace, point := clusterv1.BlockPoint(t.GetTenant(), t.GetShard())
	if span.GetKeyspace() != keyspace || !span.Contains(point) {
		return ErrWrongSpan
	}
	if (len(t.GetBlocks()) == 0) == (t.GetPartition() == 0) {
		return fmt.Errorf("%w %.128q: want either blocks or a partition", errTombstone, t.GetName())
	}
	if len(t.GetBlocks()) > tombstoneBlocks || t.GetPartition()%index.PartitionSeconds != 0 {
		return fmt.Errorf("%w %.128q: %d blocks, partition %d", errTombstone, t.GetName(), len(t.GetBlocks()), t.GetPartition())
	}
	_, err := parseIDs(t.GetBlocks())
	return err
}

func (u *update) importTombstone(t *raftlogv1.Tombstone) (raftlogv1.ImportOutcome, error) {
	held, err := u.tables.tombstones.Get(t.GetName())
	if err != nil {
		return 0, err
	}
	if held != nil {
		return raftlogv1.ImportOutcome_IMPORT_OUTCOME_HELD, nil
	}
	if live, err := u.standsForLive(t); live || err != nil {
		return raftlogv1.ImportOutcome_IMPORT_OUTCOME_LIVE, err
	}
	return raftlogv1.ImportOutcome_IMPORT_OUTCOME_ADDED, u.tables.tombstones.Add(&raftlogv1.Tombstone{
		Name: t.GetName(), Tenant: t.GetTenant(), Shard: t.GetShard(), Level: t.GetLevel(),
		Blocks: t.GetBlocks(), Partition: t.GetPartition(), Since: u.header.logTime,
	})
}

// standsForLive tells whether carrying a tombstone out would delete the object of a
// block in the index. One of a partition takes all that is older, too.
func (u *update) standsForLive(t *raftlogv1.Tombstone) (bool, error) {
	if len(t.GetBlocks()) == 0 {
		oldest, found, err := u.index.OldestLive(t.GetTenant(), t.GetShard())
		return found && oldest <= t.GetPartition(), err
	}
	for _, text := range t.GetBlocks() {
		id, err := ulid.ParseStrict(text)
		if err != nil {
			return false, err
		}
		if u.index.Has(index.KeyOf(id, t.GetTenant(), t.GetShard()), id) {
			return true, nil
		}
	}
	return false, nil
}
