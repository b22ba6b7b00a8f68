package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func transfersCommand() command {
	return command{
		name: "transfers", summary: "list what compacted streams still have to hand over to their tenants' groups",
		detail: `What compaction makes of segments moves from the stream's GROUP to the group that its
tenant belongs to, TO, within moments. Until then it is queried where it is. WHY is
the last failure; without one it is on its way, or behind others.

` + groupsHelp,
		setup: setUpTransfers,
	}
}

func setUpTransfers(set *flag.FlagSet) action {
	c := clientFlags(set)
	g := groupLists(set)
	return func(ctx context.Context, std streams, args []string) error {
		answer, err := askOperator(ctx, c, g, args, adminv1.AdminServiceClient.TransferStatus, func(ids []uint64) *adminv1.TransferStatusRequest {
			return &adminv1.TransferStatusRequest{GroupIds: ids, Limit: uint32(g.limit)}
		})
		if err != nil {
			return err
		}
		view := newTransfersView(answer)
		return show(std, c, view, func(w io.Writer) error { return writeTransfers(w, view, answer, g.limit) }, view.silent.err())
	}
}

// transfersView is the answer in the order of fields that JSON output promises.
type transfersView struct {
	Now       string               `json:"now,omitempty"`
	Transfers uint64               `json:"transfers"`
	Blocks    uint64               `json:"blocks"`
	Groups    []groupTransfersView `json:"groups"`
	silent    *silence
}

type groupTransfersView struct {
	GroupID   uint64       `json:"group_id"`
	Error     string       `json:"error,omitempty"`
	Transfers uint64       `json:"transfers"`
	Blocks    uint64       `json:"blocks"`
	Oldest    string       `json:"oldest,omitempty"`
	Outboxes  []outboxView `json:"outboxes"`
	Truncated bool         `json:"truncated"`
}

type outboxView struct {
	Stream    uint32 `json:"stream"`
	Tenant    string `json:"tenant"`
	Transfers uint64 `json:"transfers"`
	Blocks    uint64 `json:"blocks"`
	Oldest    string `json:"oldest,omitempty"`
	// 0 if it is not known.
	ToGroupID uint64 `json:"to_group_id"`
	Error     string `json:"error,omitempty"`
}

func newTransfersView(answer *adminv1.TransferStatusResponse) transfersView {
	view := transfersView{Now: moment(answer.GetNow()), Groups: []groupTransfersView{}, silent: newSilence()}
	for _, group := range answer.GetGroups() {
		status := group.GetStatus()
		view.silent.heard(group.GetGroupId(), group.GetError())
		view.Transfers += status.GetTransfers()
		view.Blocks += status.GetBlocks()
		g := groupTransfersView{
			GroupID: group.GetGroupId(), Error: group.GetError(), Transfers: status.GetTransfers(), Blocks: status.GetBlocks(),
			Oldest: moment(status.GetOldest()), Outboxes: []outboxView{}, Truncated: status.GetTruncated(),
		}
		for i, o := range status.GetOutboxes() {
			g.Outboxes = append(g.Outboxes, outboxView{
				o.GetStream(), o.GetTenant(), o.GetTransfers(), o.GetBlocks(), moment(o.GetOldest()), destination(group, i), o.GetError(),
			})
		}
		view.Groups = append(view.Groups, g)
	}
	return view
}

// destination is the group that an outbox is for; 0 if it is not known.
func destination(group *adminv1.GroupTransfers, outbox int) uint64 {
	if to := group.GetDestinations(); outbox < len(to) {
		return to[outbox]
	}
	return 0
}

func groupText(id uint64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprint(id)
}

func writeTransfers(w io.Writer, view transfersView, answer *adminv1.TransferStatusResponse, limit uint) error {
	var truncated cut
	var oldest int64
	groups := newGrid("GROUP", "TRANSFERS", "BLOCKS", "OLDEST")
	type row struct {
		*nodev1.OutboxInfo
		from, to uint64
	}
	var rows []row
	for _, group := range answer.GetGroups() {
		status := group.GetStatus()
		truncated.note(group.GetGroupId(), status.GetTruncated())
		if status.GetTransfers() == 0 {
			continue
		}
		groups.row(group.GetGroupId(), thousands(status.GetTransfers()), thousands(status.GetBlocks()), age(answer.GetNow(), status.GetOldest()))
		if at := status.GetOldest(); at != 0 && (oldest == 0 || at < oldest) {
			oldest = at
		}
		for i, o := range status.GetOutboxes() {
			rows = append(rows, row{o, group.GetGroupId(), destination(group, i)})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.GetOldest(), b.GetOldest()) })
	table := newGrid("AGE", "STREAM", "TENANT", "TRANSFERS", "BLOCKS", "GROUP", "TO", "WHY")
	for _, r := range rows {
		table.row(age(answer.GetNow(), r.GetOldest()), r.GetStream(), r.GetTenant(), thousands(r.GetTransfers()), thousands(r.GetBlocks()),
			r.from, groupText(r.to), oneLine(r.GetError()))
	}
	summary, atLeast := "no transfers wait", ""
	if view.Transfers > 0 {
		if view.silent.err() != nil {
			atLeast = "at least "
		}
		summary = fmt.Sprintf("%s%s with %s waiting, the oldest for %s", atLeast, plural(view.Transfers, "transfer"), plural(view.Blocks, "block"), age(answer.GetNow(), oldest))
	}
	if _, err := fmt.Fprintln(w, summary); err != nil {
		return err
	}
	return writeAll(w, titled("by group", groups), titled("outboxes, oldest first", table),
		func(w io.Writer) error { return truncated.write(w, limit) }, view.silent.write)
}
