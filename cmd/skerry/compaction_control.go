package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// outcome tells what an action did, or what it means that nothing changed.
func outcome(act nodev1.ControlCompactionRequest_Action, changed bool) string {
	texts := [2]string{"was so already", "changed"}
	switch act {
	case nodev1.ControlCompactionRequest_ACTION_RETRY_JOB:
		texts = [2]string{"no such job, or nothing holds it back", "will be assigned again"}
	case nodev1.ControlCompactionRequest_ACTION_CANCEL_JOB:
		texts = [2]string{"no such job; it may be finished", "cancelled; its blocks wait again"}
	case nodev1.ControlCompactionRequest_ACTION_PAUSE:
		texts = [2]string{"was paused before", "paused"}
	case nodev1.ControlCompactionRequest_ACTION_RESUME:
		texts = [2]string{"was not paused", "resumed"}
	}
	if changed {
		return texts[1]
	}
	return texts[0]
}

func controlCommand(name, args, summary string, act nodev1.ControlCompactionRequest_Action) command {
	c := command{name: name, args: args, summary: summary, detail: groupsHelp}
	if args != "" {
		c.detail = "Names of jobs are listed by: skerry compaction jobs\n"
	}
	c.setup = func(set *flag.FlagSet) action { return setUpControl(set, act, args != "") }
	return c
}

func setUpControl(set *flag.FlagSet, act nodev1.ControlCompactionRequest_Action, ofJob bool) action {
	c := clientFlags(set)
	g := &groupFlags{limit: 1}
	if !ofJob {
		g = groupIDs(set)
		g.limit = 1 // there is no list
	}
	return func(ctx context.Context, std streams, args []string) error {
		request := &adminv1.ControlCompactionRequest{Action: act}
		if ofJob {
			if len(args) == 0 || args[0] == "" {
				return flags.Usagef("give the name of a job; see: skerry compaction jobs")
			}
			request.Job, args = args[0], args[1:]
		}
		answer, err := askOperator(ctx, c, g, args, adminv1.AdminServiceClient.ControlCompaction, func(ids []uint64) *adminv1.ControlCompactionRequest {
			request.GroupIds = ids
			return request
		})
		if err != nil {
			return err
		}
		return writeControl(std, c, act, answer)
	}
}

type controlView struct {
	GroupID uint64 `json:"group_id"`
	Changed bool   `json:"changed"`
	Error   string `json:"error,omitempty"`
}

func writeControl(std streams, c *client, act nodev1.ControlCompactionRequest_Action, answer *adminv1.ControlCompactionResponse) error {
	silent, views, table := newSilence(), []controlView{}, newGrid("GROUP", "RESULT")
	for _, group := range answer.GetGroups() {
		views = append(views, controlView{group.GetGroupId(), group.GetChanged(), group.GetError()})
		if !silent.heard(group.GetGroupId(), group.GetError()) {
			table.row(group.GetGroupId(), "not known to be done: "+oneLine(group.GetError()))
		} else {
			table.row(group.GetGroupId(), outcome(act, group.GetChanged()))
		}
	}
	var incomplete error
	if n := len(silent.table.rows); n > 0 {
		incomplete = fmt.Errorf("%d of %s did not answer: repeat the command, it is safe; see: skerry status", n, plural(uint64(silent.asked), "group"))
	}
	document := struct {
		Groups []controlView `json:"groups"`
	}{views}
	return show(std, c, document, func(w io.Writer) error { return table.write(w) }, incomplete)
}
