package shardgroup

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/retention"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine"
)

// maxImportedTombstones bounds one request.
const maxImportedTombstones = 1000

// ImportTombstones holds what another metastore left to be deleted.
func (s service) ImportTombstones(ctx context.Context, request *nodev1.ImportTombstonesRequest) (*nodev1.ImportTombstonesResponse, error) {
	outcomes, err := s.importTombstones(ctx, request)
	if err != nil {
		return nil, toStatus(err, request.GetGroupId())
	}
	return &nodev1.ImportTombstonesResponse{Outcomes: outcomes}, nil
}

func (s service) importTombstones(ctx context.Context, request *nodev1.ImportTombstonesRequest) ([]raftlogv1.ImportOutcome, error) {
	if n := len(request.GetTombstones()); n == 0 || n > maxImportedTombstones {
		return nil, fmt.Errorf("%w: %d tombstones, want 1 to %d", ErrBadRequest, n, maxImportedTombstones)
	}
	if !request.GetRange().Valid() {
		return nil, fmt.Errorf("%w: no valid range", ErrBadRequest)
	}
	command := &raftlogv1.ImportTombstones{}
	// Two that the other metastore knew apart may be the same here: see importedTombstone.
	position, same := map[string]int{}, make([]int, len(request.GetTombstones()))
	for i, foreign := range request.GetTombstones() {
		tombstone, err := importedTombstone(foreign)
		if err != nil {
			return nil, err
		}
		at, known := position[tombstone.GetName()]
		if !known {
			at = len(command.Tombstones)
			position[tombstone.GetName()] = at
			command.Tombstones = append(command.Tombstones, tombstone)
		}
		same[i] = at
	}
	group, err := s.dataGroup(request.GetGroupId())
	if err != nil {
		return nil, err
	}
	payload, err := command.MarshalVT()
	if err != nil {
		return nil, err
	}
	result, err := group.Propose(ctx, &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_IMPORT_TOMBSTONES, RequestId: newRequestID(), Range: request.GetRange(), Payload: payload,
	})
	if err != nil {
		return nil, err
	}
	switch result.GetStatus() {
	case raftlogv1.Result_STATUS_OK:
	case raftlogv1.Result_STATUS_INVALID:
		return nil, fmt.Errorf("%w: %s", ErrBadRequest, result.GetMessage())
	case raftlogv1.Result_STATUS_ROUTE:
		return nil, &statemachine.RouteRefusal{Detail: result.GetRoute()}
	default:
		return nil, fmt.Errorf("%w: %s: %s", ErrRefused, result.GetStatus(), result.GetMessage())
	}
	answer := &raftlogv1.ImportOutcomes{}
	if err := answer.UnmarshalVT(result.GetPayload()); err != nil {
		return nil, err
	}
	if len(answer.GetOutcomes()) != len(command.GetTombstones()) {
		return nil, fmt.Errorf("%w: %d outcomes of %d tombstones", ErrRefused, len(answer.GetOutcomes()), len(command.GetTombstones()))
	}
	outcomes := make([]raftlogv1.ImportOutcome, len(same))
	for i, at := range same {
		outcomes[i] = answer.GetOutcomes()[at]
	}
	return outcomes, nil
}

// importedTombstone is a worker's tombstone as it is held. One of blocks gets a name
// that no job has. One of a shard gets the name that retention here gives it: of what
// is older than a moment there need be no two, and other metastores may have longer
// partitions, of which the last one here stands for all.
func importedTombstone(foreign *metastorev1.Tombstones) (*raftlogv1.Tombstone, error) {
	blocks, shard := foreign.GetBlocks(), foreign.GetShard()
	if (blocks == nil) == (shard == nil) {
		return nil, fmt.Errorf("%w: a tombstone is either of blocks or of a shard", ErrBadRequest)
	}
	if blocks != nil {
		if blocks.GetName() == "" || len(blocks.GetBlocks()) == 0 {
			return nil, fmt.Errorf("%w: tombstone %.128q names %d blocks", ErrBadRequest, blocks.GetName(), len(blocks.GetBlocks()))
		}
		return &raftlogv1.Tombstone{
			Name: "imported: " + blocks.GetName(), Tenant: blocks.GetTenant(), Shard: blocks.GetShard(),
			Level: blocks.GetCompactionLevel(), Blocks: blocks.GetBlocks(),
		}, nil
	}
	start, length := shard.GetTimestamp(), shard.GetDuration()
	if start < 0 || length <= 0 || start > math.MaxInt64-length {
		return nil, fmt.Errorf("%w: tombstone %.128q of a shard begins at %d and lasts %d", ErrBadRequest, shard.GetName(), start, length)
	}
	end := time.Duration(start + length).Truncate(retention.PartitionDuration)
	if end <= retention.PartitionDuration {
		return nil, fmt.Errorf("%w: tombstone %.128q of a shard ends at %d, before the first whole partition", ErrBadRequest, shard.GetName(), start+length)
	}
	last := end - retention.PartitionDuration
	return &raftlogv1.Tombstone{
		Name:   retention.TombstoneName(retention.Place{Partition: planner.Time(last), Tenant: shard.GetTenant(), Shard: shard.GetShard()}),
		Tenant: shard.GetTenant(), Shard: shard.GetShard(), Partition: uint64(last / time.Second),
	}, nil
}
