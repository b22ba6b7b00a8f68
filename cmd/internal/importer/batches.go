package importer

import (
	"context"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// batchBytes bounds the metadata of a batch. A single larger block goes alone.
const batchBytes = 4 << 20

// list is blocks of one tenant and shard, in one partition.
type list struct {
	place  pyroscopedb.Place
	tenant string
	ids    []string
	// Encoded, and their checksums.
	blocks [][]byte
	sums   []uint64
}

// batch is what is sent, or asked for, at once.
type batch struct {
	lists         []*list
	blocks, bytes int
}

// add appends a block; lists end where the tenant or the place changes.
func (b *batch) add(place pyroscopedb.Place, block *metastorev1.BlockMeta, encoded []byte) {
	var last *list
	if n := len(b.lists); n > 0 {
		last = b.lists[n-1]
	}
	if tenant := block.TenantName(); last == nil || last.place != place || last.tenant != tenant {
		last = &list{place: place, tenant: tenant}
		b.lists = append(b.lists, last)
	}
	last.ids = append(last.ids, block.GetId())
	last.blocks = append(last.blocks, encoded)
	last.sums = append(last.sums, xxhash.Sum64(encoded))
	b.blocks++
	b.bytes += len(encoded)
}

// each reads the source's blocks in batches and calls work for them, a bounded number
// at a time. The first error ends it.
func (i *Import) each(ctx context.Context, concurrency int, work func(context.Context, *batch) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := make(chan *batch)
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for b := range batches {
				if err := work(ctx, b); err != nil {
					cancel(err)
				}
			}
		})
	}
	err := i.read(ctx, batches)
	close(batches)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// read cuts the source into batches. Damage was told by the survey.
func (i *Import) read(ctx context.Context, batches chan<- *batch) error {
	next := &batch{}
	send := func() bool {
		select {
		case batches <- next:
			next = &batch{}
			return true
		case <-ctx.Done():
			return false
		}
	}
	for shard, err := range i.db.Shards() {
		if err != nil {
			if err := passed(err); err != nil {
				return err
			}
			continue
		}
		for block, err := range shard.Blocks() {
			if err != nil {
				if err := passed(err); err != nil {
					return err
				}
				continue
			}
			if i.isBuried(shard.Place, block.GetId()) {
				continue
			}
			encoded, err := block.MarshalVT()
			if err != nil {
				return fmt.Errorf("encode block %s: %w", block.GetId(), err)
			}
			if next.blocks > 0 && (next.blocks == i.options.BatchBlocks || next.bytes+len(encoded) > batchBytes) && !send() {
				return ctx.Err()
			}
			next.add(shard.Place, block, encoded)
		}
	}
	if next.blocks > 0 && !send() {
		return ctx.Err()
	}
	return ctx.Err()
}
