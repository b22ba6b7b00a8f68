package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/skerrydb/skerry/bench/page"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

func benchCompareCommand() command {
	return command{
		name: "bench compare", args: "FILE [FILE...]", summary: "compare results: ratios with intervals, and a report with plots",
		detail: `Each file, and each target in it, is a side; ratios are to the first. Medians and ratios
have 95 % intervals if there are enough repetitions: 6, and twice 4. "~" marks ratios
that do not differ from 1, "[?]" those about which nothing can be said.
`,
		setup: setUpBenchCompare,
	}
}

func setUpBenchCompare(set *flag.FlagSet) action {
	report := set.String("html", "", "`FILE` write a report with plots that needs no network")
	return func(_ context.Context, std streams, args []string) error {
		if len(args) == 0 {
			return flags.Usagef("give files that skerry bench wrote with -out")
		}
		var files []*result.File
		for _, path := range args {
			file, err := result.Read(path)
			if err != nil {
				return err
			}
			files = append(files, file)
		}
		sides := result.Sides(args, files)
		rows, err := result.Compare(sides)
		if err != nil {
			return err
		}
		for _, warning := range result.Warnings(sides) {
			fmt.Fprintln(std.err, "skerry: "+oneLine(warning))
		}
		if *report != "" {
			var content bytes.Buffer
			if err := page.Write(&content, sides, rows); err != nil {
				return err
			}
			if err := os.WriteFile(*report, content.Bytes(), 0o644); err != nil {
				return err
			}
		}
		return writeComparison(std.out, sides, rows)
	}
}

func writeComparison(w io.Writer, sides []result.Side, rows []result.Row) error {
	columns := []any{"SCENARIO", "METRIC"}
	for i, side := range sides {
		columns = append(columns, printable(side.Name))
		if i > 0 {
			columns = append(columns, "RATIO")
		}
	}
	table := newGrid(columns...)
	for _, row := range rows {
		cells := []any{row.Key.String(), row.Metric.Name + ", " + row.Metric.Unit}
		for i, cell := range row.Cells {
			cells = append(cells, page.Median(cell))
			if i > 0 {
				cells = append(cells, page.Ratio(cell))
			}
		}
		table.row(cells...)
	}
	return table.write(w)
}
