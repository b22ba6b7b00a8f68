package main

import (
	"context"
	"flag"
	"io"
	"strings"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/blockview"
	"github.com/skerrydb/skerry/cmd/internal/flags"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func labelsCommand() command {
	return command{
		name: "labels", args: "NAME[,NAME...]", summary: "list the distinct values of labels",
		detail: timesHelp + strictHelp + explainHelp,
		setup:  setUpLabels,
	}
}

func setUpLabels(set *flag.FlagSet) action {
	c := clientFlags(set)
	s := searchFlags(set)
	e := explainFlag(set)
	strict := strictFlag(set)
	selector := set.String("query", "{}", "`SELECTOR` look only at the datasets that match")
	return func(ctx context.Context, std streams, args []string) error {
		var names flags.List
		for _, arg := range args {
			if err := names.Set(arg); err != nil {
				return flags.Usage(err)
			}
		}
		if len(names) == 0 {
			return flags.Usagef("give at least one label name")
		}
		from, to, err := s.span(time.Now())
		if err != nil {
			return err
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, options := e.prepare(strict.prepare(ctx))
		answer, err := call(ctx, c, metastorev1.NewMetadataQueryServiceClient(conn).QueryMetadataLabels, &metastorev1.QueryMetadataLabelsRequest{
			TenantId: s.tenants, StartTime: from, EndTime: to, Query: *selector, Labels: names,
		}, options...)
		if err == nil {
			err = writeLabels(std.out, c.format.Value, names, answer)
		}
		return e.finish(std, c.format.Value, err)
	}
}

func writeLabels(w io.Writer, format string, names []string, answer *metastorev1.QueryMetadataLabelsResponse) error {
	sets := make([]blockview.Labels, 0, len(answer.GetLabels()))
	for _, labels := range answer.GetLabels() {
		set := blockview.Labels{}
		for _, pair := range labels.GetLabels() {
			set[pair.GetName()] = pair.GetValue()
		}
		sets = append(sets, set)
	}
	if format == formatJSON {
		return writeJSON(w, struct {
			Labels []blockview.Labels `json:"labels"`
		}{sets})
	}
	columns := make([]any, len(names))
	for i, name := range names {
		columns[i] = name
	}
	table := newGrid(columns...)
	for _, set := range sets {
		cells := make([]any, len(names))
		for i, name := range names {
			cells[i] = strings.ReplaceAll(set[name], "\n", " ")
		}
		table.row(cells...)
	}
	return table.write(w)
}
