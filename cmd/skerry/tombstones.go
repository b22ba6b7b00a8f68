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

func tombstonesCommand() command {
	return command{
		name: "tombstones list", summary: "list objects that workers are to delete",
		detail: `Tombstones ride on compaction jobs, some time after they were made. One of blocks
names objects; one of a shard covers all objects of a shard's folder up to the end
of a partition.

` + groupsHelp,
		setup: setUpTombstones,
	}
}

func setUpTombstones(set *flag.FlagSet) action {
	c := clientFlags(set)
	g := groupLists(set)
	return func(ctx context.Context, std streams, args []string) error {
		answer, err := askOperator(ctx, c, g, args, adminv1.AdminServiceClient.ListTombstones, func(ids []uint64) *adminv1.ListTombstonesRequest {
			return &adminv1.ListTombstonesRequest{GroupIds: ids, Limit: uint32(g.limit)}
		})
		if err != nil {
			return err
		}
		return writeTombstones(std, c, answer, g.limit)
	}
}

type tombstoneView struct {
	GroupID uint64 `json:"group_id"`
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Tenant  string `json:"tenant"`
	Shard   uint32 `json:"shard"`
	// Of blocks only.
	Level  uint32   `json:"level"`
	Blocks []string `json:"blocks,omitempty"`
	// Of a shard only.
	Partition string `json:"partition,omitempty"`
	Duration  string `json:"duration,omitempty"`
	Since     string `json:"since,omitempty"`
	Job       string `json:"job,omitempty"`

	since int64
}

func newTombstoneView(group uint64, info *nodev1.TombstoneInfo) tombstoneView {
	view := tombstoneView{GroupID: group, Kind: "unknown", Since: moment(info.GetSince()), Job: info.GetJob(), since: info.GetSince()}
	if shard := info.GetTombstone().GetShard(); shard != nil {
		view.Kind, view.Name, view.Tenant, view.Shard = "shard", shard.GetName(), shard.GetTenant(), shard.GetShard()
		view.Partition, view.Duration = moment(shard.GetTimestamp()), time.Duration(shard.GetDuration()).String()
	}
	if blocks := info.GetTombstone().GetBlocks(); blocks != nil {
		view.Kind, view.Name, view.Tenant, view.Shard = "blocks", blocks.GetName(), blocks.GetTenant(), blocks.GetShard()
		view.Level, view.Blocks = blocks.GetCompactionLevel(), blocks.GetBlocks()
	}
	return view
}

func writeTombstones(std streams, c *client, answer *adminv1.ListTombstonesResponse, limit uint) error {
	silent, views := newSilence(), []tombstoneView{}
	var truncated cut
	for _, group := range answer.GetGroups() {
		silent.heard(group.GetGroupId(), group.GetError())
		truncated.note(group.GetGroupId(), group.GetList().GetTruncated())
		for _, info := range group.GetList().GetTombstones() {
			views = append(views, newTombstoneView(group.GetGroupId(), info))
		}
	}
	slices.SortStableFunc(views, func(a, b tombstoneView) int { return cmp.Compare(a.since, b.since) })
	document := struct {
		Tombstones []tombstoneView `json:"tombstones"`
		Truncated  bool            `json:"truncated"`
		Silent     []uint64        `json:"groups_without_answer"`
	}{views, len(truncated) > 0, []uint64{}}
	for _, group := range answer.GetGroups() {
		if group.GetError() != "" {
			document.Silent = append(document.Silent, group.GetGroupId())
		}
	}
	return show(std, c, document, func(w io.Writer) error {
		table := newGrid("AGE", "KIND", "TENANT", "SHARD", "LEVEL", "DELETES", "JOB", "GROUP")
		for _, v := range views {
			level, deletes := fmt.Sprint(v.Level), plural(uint64(len(v.Blocks)), "block")
			if v.Kind == "shard" {
				level, deletes = "", v.Partition+" + "+v.Duration
			}
			table.row(age(0, v.since), v.Kind, v.Tenant, v.Shard, level, deletes, v.Job, v.GroupID)
		}
		shown := plural(uint64(len(views)), "tombstone")
		if len(truncated) > 0 {
			shown = "the first " + shown
		}
		if _, err := fmt.Fprintln(w, shown); err != nil {
			return err
		}
		return writeAll(w, titled("tombstones, oldest first", table),
			func(w io.Writer) error { return truncated.write(w, limit) }, silent.write)
	}, silent.err())
}
