package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func blockGetCommand() command {
	return command{
		name: "block get", args: "ID...", summary: "read blocks by id",
		detail: "Blocks of a segment-writer belong to no tenant: leave -tenant out. The format\n" +
			"proto is what block add reads: a length and a protobuf message for each block.\n",
		setup: setUpBlockGet,
	}
}

func setUpBlockGet(set *flag.FlagSet) action {
	c := clientFlags(set, formatProto)
	var shard flags.Shard
	tenant := set.String("tenant", "", "`TENANT` tenant of the blocks; empty for segments")
	set.Var(&shard, "shard", "`N` data shard of the blocks; needed")
	return func(ctx context.Context, std streams, ids []string) error {
		if len(ids) == 0 {
			return flags.Usagef("give at least one block id")
		}
		if !shard.IsSet {
			return flags.Usagef("-shard is needed")
		}
		for _, id := range ids {
			if _, err := metastorev1.ParseID(id); err != nil {
				return flags.Usage(err)
			}
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		answer, err := call(ctx, c, metastorev1.NewIndexServiceClient(conn).GetBlockMetadata, &metastorev1.GetBlockMetadataRequest{
			Blocks: &metastorev1.BlockList{Tenant: *tenant, Shard: shard.Value, Blocks: ids},
		})
		if err != nil {
			return err
		}
		if err := writeBlocks(std.out, c.format.Value, answer.GetBlocks(), false); err != nil {
			return err
		}
		return missing(ids, answer.GetBlocks())
	}
}

// missing is an error that names the ids without an answer: servers leave
// unknown ones out.
func missing(ids []string, found []*metastorev1.BlockMeta) error {
	lacking := slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(found, func(block *metastorev1.BlockMeta) bool { return block.GetId() == id })
	})
	if len(lacking) == 0 {
		return nil
	}
	named := strings.Join(lacking[:min(len(lacking), listedMax)], ", ")
	if len(lacking) > listedMax {
		named += ", ..."
	}
	return fmt.Errorf("%d of %d blocks not found: %s; check -tenant and -shard", len(lacking), len(ids), named)
}
