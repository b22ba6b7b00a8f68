package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/skerrydb/skerry/cmd/internal/blockfile"
	"github.com/skerrydb/skerry/cmd/internal/blockview"
	"github.com/skerrydb/skerry/cmd/internal/flags"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// dlqHelp follows in the help of commands about dead letters.
const dlqHelp = `Dead letters are metadata that segment-writers could not add, and left below dlq/ in the
object store. Nodes recover them by themselves. What can never be added they move aside,
to dlq-rejected/: its data is not found by queries. Nodes read the object store for this
command; it needs no access of its own.
`

func dlqCommands() []command {
	return []command{
		{
			name: "dlq list", summary: "list dead letters, and why they are not recovered yet",
			detail: dlqHelp, setup: setUpDLQList,
		},
		{
			name: "dlq show", args: "KEY", summary: "show one dead letter, and whether it can be recovered",
			detail: dlqHelp + "The format proto is what block add reads.\n", setup: setUpDLQShow,
		},
		{
			name: "dlq retry", args: "[KEY...]", summary: "have dead letters recovered now, and rejected ones tried again",
			detail: dlqHelp + `
Without keys nodes look through the queue at once. Rejected ones that are named, or, with
-all, all of them, are moved back into the queue before.
`, setup: setUpDLQRetry,
		},
		{
			name: "dlq purge", args: "[KEY...]", summary: "delete rejected dead letters",
			detail: dlqHelp + "\nThere is no way back: what they tell is lost, unless the object's footer has it, too.\n", setup: setUpDLQPurge,
		},
	}
}

// dlqPage is what one call lists.
const dlqPage = 1000

func setUpDLQList(set *flag.FlagSet) action {
	c := clientFlags(set)
	rejected := set.Bool("rejected", false, "list those that were moved aside")
	limit := set.Uint("limit", 100, "`N` how many to list at most, 1 or more")
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		if *limit < 1 {
			return flags.Usagef("-limit is 0: want 1 or more")
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		admin := adminv1.NewAdminServiceClient(conn)
		view := dlqView{Rejected: *rejected, Entries: []dlqEntryView{}, Nodes: []dlqNodeView{}}
		status, err := call(ctx, c, admin.GetDLQStatus, &adminv1.GetDLQStatusRequest{})
		if err != nil {
			return err
		}
		failures := view.nodes(status)
		for left := *limit; left > 0; {
			answer, err := call(ctx, c, admin.ListDLQ, &adminv1.ListDLQRequest{List: &nodev1.ListDLQRequest{
				Rejected: *rejected, After: view.next, Limit: uint32(min(left, dlqPage)),
			}})
			if err != nil {
				return err
			}
			view.add(answer.GetList(), failures)
			left -= min(left, uint(len(answer.GetList().GetEntries())))
			if view.next = answer.GetList().GetNext(); view.next == "" || len(answer.GetList().GetEntries()) == 0 {
				break
			}
		}
		view.Truncated = view.next != ""
		return show(std, c, view, view.write, nil)
	}
}

// dlqView is the answer in the order of fields that JSON output promises.
type dlqView struct {
	Objects   string         `json:"objects"`
	Rejected  bool           `json:"rejected"`
	Entries   []dlqEntryView `json:"entries"`
	Truncated bool           `json:"truncated"`
	Nodes     []dlqNodeView  `json:"nodes"`
	next      string
}

type dlqEntryView struct {
	Key      string `json:"key"`
	Bytes    int64  `json:"bytes"`
	Modified string `json:"modified,omitempty"`
	// Of those that could not be recovered yet.
	Failures uint32 `json:"failures,omitempty"`
	RetryAt  string `json:"retry_at,omitempty"`
	Error    string `json:"error,omitempty"`
	modified int64
}

type dlqNodeView struct {
	NodeID    string         `json:"node_id"`
	Error     string         `json:"error,omitempty"`
	Interval  float64        `json:"interval_seconds"`
	ListedAt  string         `json:"listed_at,omitempty"`
	ListError string         `json:"list_error,omitempty"`
	Groups    []dlqSweepView `json:"groups"`
}

type dlqSweepView struct {
	GroupID    uint64 `json:"group_id"`
	EndedAt    string `json:"ended_at,omitempty"`
	Met        uint64 `json:"met"`
	Recovered  uint64 `json:"recovered"`
	Rejected   uint64 `json:"rejected"`
	Pending    uint64 `json:"pending"`
	Oldest     string `json:"oldest,omitempty"`
	StuckSince string `json:"stuck_since,omitempty"`
	Sweeping   bool   `json:"sweeping"`
	Error      string `json:"error,omitempty"`
	swept      string
	age        string // of the oldest
}

// nodes takes what nodes say, and returns the failures that they know of, by key.
func (v *dlqView) nodes(status *adminv1.GetDLQStatusResponse) map[string]*nodev1.DLQFailure {
	failures := map[string]*nodev1.DLQFailure{}
	for _, node := range status.GetNodes() {
		of := node.GetStatus()
		view := dlqNodeView{
			NodeID: node.GetNodeId(), Error: node.GetError(), Interval: float64(of.GetInterval()) / 1e9,
			ListedAt: moment(of.GetListedAt()), ListError: of.GetListError(), Groups: []dlqSweepView{},
		}
		for _, g := range of.GetGroups() {
			view.Groups = append(view.Groups, dlqSweepView{
				g.GetGroupId(), moment(g.GetEndedAt()), g.GetMet(), g.GetRecovered(), g.GetRejected(), g.GetPending(), moment(g.GetOldest()),
				moment(g.GetStuckSince()), g.GetSweeping(), g.GetError(), age(of.GetNow(), g.GetEndedAt()), age(of.GetNow(), g.GetOldest()),
			})
		}
		for _, f := range of.GetFailures() {
			failures[f.GetKey()] = f
		}
		v.Nodes = append(v.Nodes, view)
	}
	return failures
}

func (v *dlqView) add(page *nodev1.ListDLQResponse, failures map[string]*nodev1.DLQFailure) {
	v.Objects = page.GetObjects()
	for _, e := range page.GetEntries() {
		view := dlqEntryView{Key: e.GetKey(), Bytes: e.GetBytes(), Modified: moment(e.GetModifiedAt()), modified: e.GetModifiedAt()}
		if f := failures[e.GetKey()]; f != nil {
			view.Failures, view.RetryAt, view.Error = f.GetFailures(), moment(f.GetRetryAt()), f.GetError()
		}
		v.Entries = append(v.Entries, view)
	}
}

func (v *dlqView) write(w io.Writer) error {
	what := "dead letter"
	if v.Rejected {
		what = "rejected dead letter"
	}
	summary := plural(uint64(len(v.Entries)), what)
	if v.Truncated {
		summary = "the first " + summary
	}
	if len(v.Entries) == 0 {
		summary = "no " + what + "s"
	}
	if _, err := fmt.Fprintf(w, "%s in %s\n", summary, printable(oneLine(v.Objects))); err != nil {
		return err
	}
	columns := []any{"AGE", "BYTES", "KEY", "FAILURES", "WHY"}
	if v.Rejected {
		columns = columns[:3]
	}
	entries := newGrid(columns...)
	for _, e := range v.Entries {
		cells := []any{age(0, e.modified), e.Bytes, e.Key}
		if !v.Rejected {
			cells = append(cells, e.Failures, oneLine(e.Error))
		}
		entries.row(cells...)
	}
	sweeps := newGrid("GROUP", "NODE", "SWEPT", "MET", "RECOVERED", "REJECTED", "LEFT", "OLDEST", "ERROR")
	silent := newGrid("NODE", "ERROR")
	for _, node := range v.Nodes {
		for _, g := range node.Groups {
			sweeps.row(g.GroupID, node.NodeID, g.swept, g.Met, g.Recovered, g.Rejected, g.Pending, g.age, oneLine(g.Error))
		}
		switch {
		case node.Error != "":
			silent.row(node.NodeID, oneLine(node.Error))
		case node.ListError != "":
			silent.row(node.NodeID, oneLine(node.ListError))
		case node.Interval == 0:
			silent.row(node.NodeID, "recovery is off: -metastore.index.dlq-recovery-check-interval is 0")
		}
	}
	parts := []func(io.Writer) error{titled("in order of their keys", entries)}
	if !v.Rejected {
		parts = append(parts, titled("last sweeps", sweeps))
	}
	if len(silent.rows) > 0 {
		parts = append(parts, titled("nodes that do not recover", silent))
	}
	return writeAll(w, parts...)
}

func setUpDLQShow(set *flag.FlagSet) action {
	c := clientFlags(set, formatProto)
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return flags.Usagef("give one key; see: skerry dlq list")
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		answer, err := call(ctx, c, adminv1.NewAdminServiceClient(conn).GetDLQEntry, &adminv1.GetDLQEntryRequest{Key: args[0]})
		if err != nil {
			return err
		}
		view, block := newLetterView(answer.GetEntry())
		if c.format.Value == formatProto {
			if block == nil {
				return errors.New("it is no block's metadata, and its object has no copy: see -o json")
			}
			return blockfile.WriteFrame(std.out, block)
		}
		return show(std, c, view, func(w io.Writer) error { return writeLetter(w, view, block) }, nil)
	}
}

// letterView is a dead letter in the order of fields that JSON output promises.
type letterView struct {
	Key         string `json:"key"`
	Bytes       int64  `json:"bytes"`
	Modified    string `json:"modified,omitempty"`
	Fault       string `json:"fault,omitempty"`
	Object      string `json:"object"`
	ObjectBytes int64  `json:"object_bytes"` // -1: there is none
	Footer      bool   `json:"object_has_a_copy"`
	// Null if it is unreadable and the object has no copy.
	Block   *blockview.Block `json:"block"`
	Content []byte           `json:"content"`
}

// newLetterView returns the block that would be added, too; nil if there is none.
func newLetterView(entry *nodev1.GetDLQEntryResponse) (letterView, *metastorev1.BlockMeta) {
	view := letterView{
		Key: entry.GetEntry().GetKey(), Bytes: entry.GetEntry().GetBytes(), Modified: moment(entry.GetEntry().GetModifiedAt()), Fault: entry.GetFault(),
		Object: entry.GetObject(), ObjectBytes: entry.GetObjectBytes(), Footer: len(entry.GetFooter()) > 0, Content: entry.GetContent(),
	}
	content := entry.GetContent()
	if view.Fault != "" {
		content = entry.GetFooter()
	}
	block := &metastorev1.BlockMeta{}
	if len(content) == 0 || block.UnmarshalVT(content) != nil {
		return view, nil
	}
	resolved := blockview.New(block)
	view.Block = &resolved
	return view, block
}

func writeLetter(w io.Writer, view letterView, block *metastorev1.BlockMeta) error {
	table := newGrid("KEY", view.Key)
	table.row("bytes", view.Bytes)
	table.row("written", view.Modified)
	table.row("object", view.Object)
	object := "does not exist: data of an old dead letter without its object is gone"
	if view.ObjectBytes >= 0 {
		object = sizeText(uint64(view.ObjectBytes))
	}
	table.row("object size", object)
	verdict := "can be recovered"
	switch {
	case view.Fault != "" && view.Footer:
		verdict = "unusable, but the object has a copy: " + oneLine(view.Fault)
	case view.Fault != "":
		verdict = "cannot be recovered: " + oneLine(view.Fault)
	}
	table.row("verdict", verdict)
	if err := table.write(w); err != nil || block == nil {
		return err
	}
	return writeAll(w, func(w io.Writer) error { _, err := fmt.Fprintln(w); return err },
		func(w io.Writer) error { return writeBlockTable(w, []*metastorev1.BlockMeta{block}, true) })
}
