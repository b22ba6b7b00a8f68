package importer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// passed returns errors that are no damage.
func passed(err error) error {
	var damage *pyroscopedb.DamageError
	if errors.As(err, &damage) {
		return nil
	}
	return err
}

// add sends the blocks. If some are there already, the rest is found out first:
// reading costs less than a log entry that changes nothing.
func (i *Import) add(ctx context.Context, there bool) error {
	progress, mu := i.step("add", i.report.Source.Blocks), sync.Mutex{}
	report := &i.report.Blocks
	err := i.each(ctx, i.options.Concurrency, func(ctx context.Context, b *batch) error {
		missing, err := i.missing(ctx, b, there)
		if err != nil {
			return err
		}
		answer := &adminv1.ImportBlocksResponse{}
		if len(missing) > 0 {
			answer, err = call(ctx, i, i.cluster.Admin.ImportBlocks, &adminv1.ImportBlocksRequest{Blocks: missing})
			if err != nil {
				return fmt.Errorf("add %d blocks from %s on: %w", len(missing), b.lists[0].ids[0], err)
			}
		}
		progress.add(b.blocks)
		mu.Lock()
		defer mu.Unlock()
		report.Added += answer.GetAdded()
		report.Known += uint64(b.blocks-len(missing)) + answer.GetKnown()
		for _, refused := range answer.GetRefused() {
			if report.Refused++; report.Refused <= listedMax {
				i.options.Note("refused: " + refused.GetError())
			}
		}
		return nil
	})
	report.Seconds = progress.end().Seconds()
	return err
}

// missing returns the blocks of a batch that the cluster does not have.
func (i *Import) missing(ctx context.Context, b *batch, there bool) ([][]byte, error) {
	var missing [][]byte
	for _, l := range b.lists {
		if !there {
			missing = append(missing, l.blocks...)
			continue
		}
		held, err := i.get(ctx, l)
		if err != nil {
			return nil, err
		}
		for n, block := range held {
			if block == nil {
				missing = append(missing, l.blocks[n])
			}
		}
	}
	return missing, nil
}

// get reads the blocks of a list from the cluster, in the list's order; nil for those
// that are not there.
func (i *Import) get(ctx context.Context, l *list) ([]*metastorev1.BlockMeta, error) {
	answer, err := call(ctx, i, i.cluster.Index.GetBlockMetadata, &metastorev1.GetBlockMetadataRequest{
		Blocks: &metastorev1.BlockList{Tenant: l.tenant, Shard: l.place.Shard, Blocks: l.ids},
	})
	if err != nil {
		return nil, fmt.Errorf("read blocks of %s: %w", l.place, err)
	}
	found := make([]*metastorev1.BlockMeta, len(l.ids))
	at := 0
	for _, block := range answer.GetBlocks() {
		for at < len(l.ids) && l.ids[at] != block.GetId() {
			at++
		}
		if at == len(l.ids) {
			return nil, fmt.Errorf("read blocks of %s: block %.64q was not asked for", l.place, block.GetId())
		}
		found[at] = block
		at++
	}
	return found, nil
}
