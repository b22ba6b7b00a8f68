package importer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// owner is a tenant and shard; the tenant as the source files it.
type owner struct {
	directory string
	shard     uint32
}

type buried struct {
	owner
	id ulid.ULID
}

// survey is what later steps must know of the whole source.
type survey struct {
	// Blocks that a tombstone names.
	buried map[buried]struct{}
	// Start of the oldest partition in which an owner has rows, damaged ones too.
	oldest map[owner]time.Time
	// Some bucket's name is damaged: what is in it is not known.
	unknown bool
}

// directoryOf is where the source files a tenant.
func directoryOf(tenant string) string {
	if tenant == "" {
		return "-"
	}
	return tenant
}

// surveySource reads all of the source.
func (i *Import) surveySource(ctx context.Context) error {
	i.survey = &survey{buried: map[buried]struct{}{}, oldest: map[owner]time.Time{}}
	var err error
	if i.report.Source.Term, i.report.Source.Index, err = i.db.Applied(); err != nil {
		if err := i.damaged(err); err != nil {
			return err
		}
	}
	if err := i.surveyTombstones(ctx); err != nil {
		return err
	}
	if err := i.surveyBlocks(ctx); err != nil {
		return err
	}
	for entry, err := range i.db.Queue() {
		if err != nil {
			if err := i.damaged(err); err != nil {
				return err
			}
			continue
		}
		i.report.Source.Queued++
		if !entry.Indexed {
			i.report.Source.QueuedStale++
		}
	}
	return ctx.Err()
}

// damaged notes a damaged row; another error is returned.
func (i *Import) damaged(err error) error {
	var damage *pyroscopedb.DamageError
	if !errors.As(err, &damage) {
		return fmt.Errorf("read %s: %w", i.report.Source.Name, err)
	}
	i.report.Source.DamagedRows++
	if len(i.report.Source.Damage) < listedMax {
		i.report.Source.Damage = append(i.report.Source.Damage, damage.Error())
		i.options.Note("damaged: " + damage.Error())
	}
	if errors.Is(err, pyroscopedb.ErrPlace) {
		i.survey.unknown = true
	}
	return nil
}

func (i *Import) surveyTombstones(ctx context.Context) error {
	for tombstone, err := range i.db.Tombstones() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if err := i.damaged(err); err != nil {
				return err
			}
			continue
		}
		blocks := tombstone.GetBlocks()
		if blocks == nil {
			i.report.Source.ShardTombstones++
			continue
		}
		i.report.Source.BlockTombstones++
		of := owner{directoryOf(blocks.GetTenant()), blocks.GetShard()}
		for _, text := range blocks.GetBlocks() {
			id, err := metastorev1.ParseID(text)
			if err != nil {
				return err
			}
			i.survey.buried[buried{of, id}] = struct{}{}
		}
	}
	return nil
}

func (i *Import) surveyBlocks(ctx context.Context) error {
	progress := i.step("read", 0)
	tenants, partition := map[string]struct{}{}, pyroscopedb.Place{}
	source := &i.report.Source
	for shard, err := range i.db.Shards() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if err := i.damaged(err); err != nil {
				return err
			}
			continue
		}
		source.Shards++
		if shard.Directory != "-" {
			tenants[shard.Directory] = struct{}{}
		}
		if shard.Start != partition.Start || shard.Duration != partition.Duration {
			source.Partitions++
			partition = shard.Place
		}
		rows := 0
		for block, err := range shard.Blocks() {
			rows++
			switch {
			case err != nil:
				if err := i.damaged(err); err != nil {
					return err
				}
			case i.isBuried(shard.Place, block.GetId()):
				source.BuriedBlocks++
			default:
				source.Blocks++
				source.ObjectBytes += block.GetSize()
				progress.add(1)
			}
		}
		if rows == 0 {
			source.EmptyShards++
			continue
		}
		of := owner{shard.Directory, shard.Shard}
		if oldest, known := i.survey.oldest[of]; !known || shard.Start.Before(oldest) {
			i.survey.oldest[of] = shard.Start
		}
	}
	source.Tenants = uint64(len(tenants))
	progress.end()
	return nil
}

func (i *Import) isBuried(place pyroscopedb.Place, text string) bool {
	if len(i.survey.buried) == 0 {
		return false
	}
	id, err := metastorev1.ParseID(text)
	if err != nil {
		return false
	}
	_, found := i.survey.buried[buried{owner{place.Directory, place.Shard}, id}]
	return found
}
