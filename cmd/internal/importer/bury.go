package importer

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// tombstonesMax bounds the tombstones of one call.
const tombstonesMax = 200

// bury hands the tombstones over.
func (i *Import) bury(ctx context.Context) error {
	progress := i.step("bury", i.report.Source.BlockTombstones+i.report.Source.ShardTombstones)
	var next []*metastorev1.Tombstones
	for tombstone, err := range i.db.Tombstones() {
		if err != nil {
			if err := passed(err); err != nil {
				return err
			}
			continue
		}
		if reason := i.unsafe(tombstone.GetShard()); reason != "" {
			i.spare(tombstone, reason)
			continue
		}
		if next = append(next, tombstone); len(next) == tombstonesMax {
			if err := i.handOver(ctx, next); err != nil {
				return err
			}
			progress.add(len(next))
			next = nil
		}
	}
	if err := i.handOver(ctx, next); err != nil {
		return err
	}
	progress.add(len(next))
	progress.end()
	return nil
}

// unsafe says why a tombstone of a shard must not be carried out: all objects up to the
// end of its partition would go. The cluster looks at the blocks that it has; damaged
// rows stand for blocks, too.
func (i *Import) unsafe(shard *metastorev1.ShardTombstone) string {
	if shard == nil {
		return ""
	}
	if i.survey.unknown {
		return "what is in buckets with damaged names is not known"
	}
	oldest, found := i.survey.oldest[owner{directoryOf(shard.GetTenant()), shard.GetShard()}]
	if end := time.Unix(0, shard.GetTimestamp()+shard.GetDuration()); found && oldest.Before(end) {
		return "the source has blocks from " + oldest.UTC().Format(time.RFC3339) + " on, whose objects would go"
	}
	return ""
}

// spare notes a tombstone that is left out.
func (i *Import) spare(tombstone *metastorev1.Tombstones, reason string) {
	if i.report.Tombstones.Live++; i.report.Tombstones.Live <= listedMax {
		i.options.Note(fmt.Sprintf("tombstone %.128q is left out, its objects stay: %s", tombstoneName(tombstone), reason))
	}
}

func tombstoneName(tombstone *metastorev1.Tombstones) string {
	return tombstone.GetBlocks().GetName() + tombstone.GetShard().GetName()
}

// handOver sends tombstones; if some are refused, each by itself.
func (i *Import) handOver(ctx context.Context, tombstones []*metastorev1.Tombstones) error {
	if len(tombstones) == 0 {
		return nil
	}
	answer, err := call(ctx, i, i.cluster.Admin.ImportTombstones, &adminv1.ImportTombstonesRequest{Tombstones: tombstones})
	report := &i.report.Tombstones
	switch {
	case status.Code(err) == codes.InvalidArgument && len(tombstones) > 1:
		for _, one := range tombstones {
			if err := i.handOver(ctx, []*metastorev1.Tombstones{one}); err != nil {
				return err
			}
		}
		return nil
	case status.Code(err) == codes.InvalidArgument:
		report.Refused++
		i.options.Note(fmt.Sprintf("tombstone %.128q is refused: %s", tombstoneName(tombstones[0]), status.Convert(err).Message()))
		return nil
	case err != nil:
		return fmt.Errorf("hand over %d tombstones from %.128q on: %w", len(tombstones), tombstoneName(tombstones[0]), err)
	}
	for n, outcome := range answer.GetOutcomes() {
		switch outcome {
		case raftlogv1.ImportOutcome_IMPORT_OUTCOME_ADDED:
			report.Added++
		case raftlogv1.ImportOutcome_IMPORT_OUTCOME_HELD:
			report.Held++
		case raftlogv1.ImportOutcome_IMPORT_OUTCOME_LIVE:
			if n < len(tombstones) {
				i.spare(tombstones[n], "the cluster has blocks whose objects would go")
			}
		default:
			return fmt.Errorf("hand over tombstones: the cluster answers %v", outcome)
		}
	}
	return nil
}
