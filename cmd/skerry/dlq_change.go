package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Keys that one command line may name.
const dlqKeysMax = 1000

// chosen checks what a command line says about which entries are meant.
func chosen(keys []string, all bool) error {
	switch {
	case len(keys) > 0 && all:
		return flags.Usagef("name keys, or use -all, not both")
	case len(keys) > dlqKeysMax:
		return flags.Usagef("%d keys, at most %d at a time", len(keys), dlqKeysMax)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, "dlq/") && !strings.HasPrefix(key, "dlq-rejected/") {
			return flags.Usagef("%q is not the key of a dead letter; see: skerry dlq list -rejected", key)
		}
	}
	return nil
}

// dlqChangeView is an outcome in the order of fields that JSON output promises.
type dlqChangeView struct {
	DryRun  bool           `json:"dry_run"`
	Entries uint64         `json:"entries"`
	Bytes   uint64         `json:"bytes,omitempty"`
	Faults  []dlqFaultView `json:"faults"`
	// Of retry: groups that are swept now, and the nodes that are not.
	Groups uint32   `json:"groups_swept,omitempty"`
	Silent []string `json:"silent_nodes,omitempty"`
}

type dlqFaultView struct {
	Key   string `json:"key"`
	Error string `json:"error"`
}

func (v *dlqChangeView) faults(faults []*nodev1.DLQFault) {
	for _, f := range faults {
		v.Faults = append(v.Faults, dlqFaultView{f.GetKey(), f.GetError()})
	}
}

func (v *dlqChangeView) err() error {
	switch {
	case len(v.Faults) > 0:
		return fmt.Errorf("nothing was done about %s", plural(uint64(len(v.Faults)), "dead letter"))
	case len(v.Silent) > 0:
		return fmt.Errorf("%s did not answer: what their groups have is swept when the interval is over", plural(uint64(len(v.Silent)), "node"))
	}
	return nil
}

func (v *dlqChangeView) write(w io.Writer, lines ...string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if len(v.Faults) > 0 {
		table := newGrid("KEY", "ERROR")
		for _, f := range v.Faults {
			table.row(f.Key, oneLine(f.Error))
		}
		if err := titled("nothing was done about", table)(w); err != nil {
			return err
		}
	}
	for _, node := range v.Silent {
		if _, err := fmt.Fprintf(w, "not swept: %s\n", printable(oneLine(node))); err != nil {
			return err
		}
	}
	return nil
}

func setUpDLQRetry(set *flag.FlagSet) action {
	c := clientFlags(set)
	all := set.Bool("all", false, "move all rejected ones back into the queue")
	dry := set.Bool("dry-run", false, "tell what would be moved, but change nothing")
	return func(ctx context.Context, std streams, keys []string) error {
		if err := chosen(keys, *all); err != nil {
			return err
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		admin, view := adminv1.NewAdminServiceClient(conn), dlqChangeView{DryRun: *dry, Faults: []dlqFaultView{}}
		for after := ""; ; {
			answer, err := call(ctx, c, admin.RetryDLQ, &adminv1.RetryDLQRequest{
				Retry: &nodev1.RetryDLQRequest{Keys: keys, All: *all, After: after, DryRun: *dry},
			})
			if err != nil {
				return err
			}
			view.Entries += answer.GetOutcome().GetMoved()
			view.faults(answer.GetOutcome().GetFaults())
			view.Groups, view.Silent = answer.GetGroups(), answer.GetSilentNodes()
			if after = answer.GetOutcome().GetNext(); after == "" {
				break
			}
		}
		return show(std, c, view, func(w io.Writer) error {
			if *dry {
				return view.write(w, fmt.Sprintf("would move %s back into the queue", plural(view.Entries, "dead letter")))
			}
			return view.write(w, fmt.Sprintf("moved %s back into the queue", plural(view.Entries, "dead letter")),
				fmt.Sprintf("the queue of %s is swept now; see: skerry dlq list", plural(uint64(view.Groups), "group")))
		}, view.err())
	}
}

func setUpDLQPurge(set *flag.FlagSet) action {
	c := clientFlags(set)
	all := set.Bool("all", false, "delete all rejected ones")
	dry := set.Bool("dry-run", false, "tell what would be deleted, but change nothing")
	sure := set.String("confirm", "", "`WORD` the word purge, to show that it is meant")
	return func(ctx context.Context, std streams, keys []string) error {
		if err := chosen(keys, *all); err != nil {
			return err
		}
		if len(keys) == 0 && !*all {
			return flags.Usagef("name keys of rejected dead letters, or use -all; see: skerry dlq list -rejected")
		}
		if *sure != "purge" && !*dry {
			return flags.Usagef("this cannot be undone: look with -dry-run first, then add -confirm purge")
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		admin, view := adminv1.NewAdminServiceClient(conn), dlqChangeView{DryRun: *dry, Faults: []dlqFaultView{}}
		for after := ""; ; {
			answer, err := call(ctx, c, admin.PurgeDLQ, &adminv1.PurgeDLQRequest{
				Purge: &nodev1.PurgeDLQRequest{Keys: keys, All: *all, After: after, DryRun: *dry},
			})
			if err != nil {
				return err
			}
			view.Entries += answer.GetOutcome().GetDeleted()
			view.Bytes += answer.GetOutcome().GetBytes()
			view.faults(answer.GetOutcome().GetFaults())
			if after = answer.GetOutcome().GetNext(); after == "" {
				break
			}
		}
		return show(std, c, view, func(w io.Writer) error {
			verb := "deleted"
			if *dry {
				verb = "would delete"
			}
			return view.write(w, fmt.Sprintf("%s %s with %s", verb, plural(view.Entries, "rejected dead letter"), sizeText(view.Bytes)))
		}, view.err())
	}
}
