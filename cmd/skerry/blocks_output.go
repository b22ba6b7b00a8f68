package main

import (
	"io"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/blockfile"
	"github.com/skerrydb/skerry/cmd/internal/blockview"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// writeBlocks writes blocks in one of the formats; withLabels adds a column of
// label sets to the table.
func writeBlocks(w io.Writer, format string, blocks []*metastorev1.BlockMeta, withLabels bool) error {
	switch format {
	case formatProto:
		for _, block := range blocks {
			if err := blockfile.WriteFrame(w, block); err != nil {
				return err
			}
		}
		return nil
	case formatJSON:
		return writeJSON(w, struct {
			Blocks []blockview.Block `json:"blocks"`
		}{blockview.NewList(blocks)})
	default:
		return writeBlockTable(w, blocks, withLabels)
	}
}

func writeBlockTable(w io.Writer, blocks []*metastorev1.BlockMeta, withLabels bool) error {
	columns := []any{"BLOCK", "TENANT", "SHARD", "LEVEL", "MIN TIME", "MAX TIME", "DATASETS", "SIZE"}
	if withLabels {
		columns = append(columns, "LABELS")
	}
	table := newGrid(columns...)
	for _, block := range blocks {
		b := blockview.New(block)
		cells := []any{b.ID, b.Tenant, b.Shard, b.Level, b.MinTime, b.MaxTime, len(b.Datasets), sizeText(b.Size)}
		if withLabels {
			cells = append(cells, strings.Join(b.LabelSets(), "\n"))
		}
		table.row(cells...)
	}
	return table.write(w)
}
