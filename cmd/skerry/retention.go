package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func retentionCommand() command {
	return command{
		name: "retention plan", summary: "show what retention would remove now, and why the rest stays",
		detail: `Nothing is changed. Retention removes all blocks that one shard of a tenant has in
one partition, or none. Rows without a tenant are segments.

` + groupsHelp,
		setup: setUpRetention,
	}
}

func setUpRetention(set *flag.FlagSet) action {
	c := clientFlags(set)
	g := groupLists(set)
	return func(ctx context.Context, std streams, args []string) error {
		answer, err := askOperator(ctx, c, g, args, adminv1.AdminServiceClient.PlanRetention, func(ids []uint64) *adminv1.PlanRetentionRequest {
			return &adminv1.PlanRetentionRequest{GroupIds: ids, Limit: uint32(g.limit)}
		})
		if err != nil {
			return err
		}
		return writeRetention(std, c, answer, g.limit)
	}
}

type retentionView struct {
	GroupID   uint64        `json:"group_id"`
	Error     string        `json:"error,omitempty"`
	Now       string        `json:"now,omitempty"`
	Remove    []verdictView `json:"remove"`
	Keep      []verdictView `json:"keep"`
	Truncated bool          `json:"truncated"`
	Stopped   string        `json:"stopped,omitempty"`
}

type verdictView struct {
	Partition   string `json:"partition"`
	Tenant      string `json:"tenant"`
	Shard       uint32 `json:"shard"`
	Blocks      uint64 `json:"blocks"`
	ObjectBytes uint64 `json:"object_bytes"`
	Reason      string `json:"reason"`
}

func verdictViews(verdicts []*nodev1.RetentionVerdict) []verdictView {
	views := []verdictView{}
	for _, v := range verdicts {
		views = append(views, verdictView{
			time.Unix(int64(v.GetPartition()), 0).UTC().Format(time.RFC3339), v.GetTenant(), v.GetShard(), v.GetBlocks(), v.GetObjectBytes(), v.GetReason(),
		})
	}
	return views
}

func writeRetention(std streams, c *client, answer *adminv1.PlanRetentionResponse, limit uint) error {
	silent, views := newSilence(), []retentionView{}
	for _, group := range answer.GetGroups() {
		plan := group.GetPlan()
		silent.heard(group.GetGroupId(), group.GetError())
		views = append(views, retentionView{
			group.GetGroupId(), group.GetError(), moment(plan.GetNow()), verdictViews(plan.GetRemove()), verdictViews(plan.GetKeep()),
			plan.GetTruncated(), plan.GetStopped(),
		})
	}
	document := struct {
		Groups []retentionView `json:"groups"`
	}{views}
	return show(std, c, document, func(w io.Writer) error { return writeRetentionTables(w, answer, silent, limit) }, silent.err())
}

func writeRetentionTables(w io.Writer, answer *adminv1.PlanRetentionResponse, silent *silence, limit uint) error {
	var truncated cut
	var blocks, bytes uint64
	removed, kept := []listed[*nodev1.RetentionVerdict]{}, []listed[*nodev1.RetentionVerdict]{}
	stops := newGrid("GROUP", "WHY")
	for _, group := range answer.GetGroups() {
		plan := group.GetPlan()
		truncated.note(group.GetGroupId(), plan.GetTruncated())
		for _, v := range plan.GetRemove() {
			removed = append(removed, listed[*nodev1.RetentionVerdict]{group.GetGroupId(), plan.GetNow(), v})
			blocks, bytes = blocks+v.GetBlocks(), bytes+v.GetObjectBytes()
		}
		for _, v := range plan.GetKeep() {
			kept = append(kept, listed[*nodev1.RetentionVerdict]{group.GetGroupId(), plan.GetNow(), v})
		}
		if plan.GetStopped() != "" {
			stops.row(group.GetGroupId(), oneLine(plan.GetStopped()))
		}
	}
	atLeast := ""
	if len(truncated) > 0 || silent.err() != nil {
		atLeast = "at least "
	}
	_, err := fmt.Fprintf(w, "would remove %s%s with %s, %s\n", atLeast, plural(uint64(len(removed)), "shard"), plural(blocks, "block"), sizeText(bytes))
	if err != nil {
		return err
	}
	return writeAll(w, titled("would go, oldest first", verdictTable(removed)), titled("stays", verdictTable(kept)), titled("why sweeps end", stops),
		func(w io.Writer) error { return truncated.write(w, limit) }, silent.write)
}

func verdictTable(rows []listed[*nodev1.RetentionVerdict]) *grid {
	slices.SortStableFunc(rows, func(a, b listed[*nodev1.RetentionVerdict]) int {
		return cmp.Compare(a.row.GetPartition(), b.row.GetPartition())
	})
	table := newGrid("PARTITION", "AGE", "TENANT", "SHARD", "BLOCKS", "SIZE", "GROUP", "WHY")
	for _, r := range rows {
		start := time.Unix(int64(r.row.GetPartition()), 0)
		table.row(start.UTC().Format("2006-01-02 15:04"), age(r.now, start.UnixNano()), r.row.GetTenant(), r.row.GetShard(),
			thousands(r.row.GetBlocks()), sizeText(r.row.GetObjectBytes()), r.group, oneLine(r.row.GetReason()))
	}
	return table
}
