package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// digestView is a group's digest in the order of fields that JSON output promises.
type digestView struct {
	Group   uint64 `json:"group"`
	Applied uint64 `json:"applied"`
	State   string `json:"state"`
	Data    string `json:"data"`
}

func setUpInspectHash(set *flag.FlagSet) action {
	s := storeFlags(set)
	format := flags.NewChoice(formatTable, formatJSON)
	set.Var(format, "o", "`FORMAT` output: table, json")
	return func(_ context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		digests := []digestView{}
		if err := s.open(std, func(engine *kv.Engine) error {
			return eachGroup(engine, func(group uint64, tx *kv.Tx) error {
				if group == 0 {
					return nil // the node's own
				}
				d, err := statemachine.DigestOf(tx)
				digests = append(digests, digestView{group, d.Applied, fmt.Sprintf("%x", d.State), fmt.Sprintf("%x", d.Data)})
				return err
			})
		}); err != nil {
			return err
		}
		if format.Value == formatJSON {
			return writeJSON(std.out, digests)
		}
		rows := newGrid("GROUP", "APPLIED", "STATE", "DATA")
		for _, d := range digests {
			rows.row(d.Group, d.Applied, d.State[:16], d.Data[:16])
		}
		return rows.write(std.out)
	}
}
