package main

import (
	"context"
	"flag"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func queryCommand() command {
	return command{
		name: "query", args: "SELECTOR", summary: "find blocks by tenant, time and labels",
		detail: "SELECTOR is a Prometheus selector such as '{service_name=\"cart\"}'; '{}' selects all.\n" + timesHelp + strictHelp + explainHelp,
		setup:  setUpQuery,
	}
}

func setUpQuery(set *flag.FlagSet) action {
	c := clientFlags(set, formatProto)
	s := searchFlags(set)
	e := explainFlag(set)
	strict := strictFlag(set)
	var labels flags.List
	set.Var(&labels, "labels", "`NAME` label to show; repeat the flag or separate several with commas")
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return flags.Usagef("give one selector ('{}' selects all)")
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
		answer, err := call(ctx, c, metastorev1.NewMetadataQueryServiceClient(conn).QueryMetadata, &metastorev1.QueryMetadataRequest{
			TenantId: s.tenants, StartTime: from, EndTime: to, Query: args[0], Labels: labels,
		}, options...)
		if err == nil {
			err = writeBlocks(std.out, c.format.Value, answer.GetBlocks(), len(labels) > 0)
		}
		return e.finish(std, c.format.Value, err)
	}
}
