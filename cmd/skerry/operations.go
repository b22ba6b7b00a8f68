package main

import (
	"flag"
	"fmt"
	"io"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

func operationsCommand() command {
	return command{
		name: "operations", summary: "list splits and merges, and what the cluster does next",
		detail: "Those that run and the last ones that ended, youngest first. Then what the directory's leader plans, and\nwhat it would do but for a reason.\n",
		setup: func(set *flag.FlagSet) action {
			return setUpCluster(set, func(std streams, c *client, state cluster) error {
				view := newOperationsView(state)
				return show(std, c, view, func(w io.Writer) error { return writeOperations(w, view, state) }, nil)
			})
		},
	}
}

type operationsView struct {
	Operations []operationView `json:"operations"`
	Plan       []string        `json:"plan"`
}

type operationView struct {
	ID        uint64      `json:"operation_id"`
	Kind      string      `json:"kind"`
	State     string      `json:"state"`
	GroupID   uint64      `json:"group_id"`
	Before    []rangeView `json:"before"`
	After     []rangeView `json:"after"`
	Actor     string      `json:"actor"`
	Reason    string      `json:"reason"`
	Error     string      `json:"error,omitempty"`
	StartedAt string      `json:"started_at"`
	EndedAt   string      `json:"ended_at,omitempty"`
}

func newOperationsView(state cluster) operationsView {
	view := operationsView{Operations: []operationView{}, Plan: append([]string{}, state.GetPlan()...)}
	for _, o := range state.GetOperations() {
		view.Operations = append(view.Operations, operationView{
			ID: o.GetOperationId(), Kind: enumName(o.GetKind().String(), "KIND_"), State: enumName(o.GetState().String(), "STATE_"),
			GroupID: o.GetGroupId(), Before: rangeViews(o.GetBefore()), After: rangeViews(o.GetAfter()),
			Actor: o.GetActor(), Reason: o.GetReason(), Error: o.GetError(), StartedAt: moment(o.GetStartedAt()), EndedAt: moment(o.GetEndedAt()),
		})
	}
	return view
}

func rangeViews(ranges []*clusterv1.Range) []rangeView {
	views := []rangeView{}
	for _, r := range ranges {
		views = append(views, newRangeView(r))
	}
	return views
}

func writeOperations(w io.Writer, view operationsView, state cluster) error {
	if err := writeClusterLine(w, state, state.shortener()); err != nil {
		return err
	}
	table := newGrid("OPERATION", "KIND", "STATE", "GROUP", "BEFORE", "AFTER", "STARTED", "TOOK", "ACTOR", "REASON", "ERROR")
	for i, o := range view.Operations {
		record := state.GetOperations()[i]
		took := ""
		if record.GetEndedAt() != 0 {
			took = roughly(time.Duration(max(0, record.GetEndedAt()-record.GetStartedAt()))).String()
		}
		started := moment(record.GetStartedAt() / int64(time.Second) * int64(time.Second))
		table.row(o.ID, o.Kind, o.State, o.GroupID, spans(o.Before), spans(o.After), started, took, oneLine(o.Actor), oneLine(o.Reason), oneLine(o.Error))
	}
	if len(table.rows) == 0 {
		if _, err := fmt.Fprintln(w, "operations: none"); err != nil {
			return err
		}
	} else if err := table.write(w); err != nil {
		return err
	}
	return writePlan(w, "\n", view.Plan, "")
}

// writePlan tells what the cluster is about to do, if anything.
func writePlan(w io.Writer, before string, plan []string, after string) error {
	if len(plan) == 0 {
		return nil
	}
	text := before + "next:\n\n"
	for _, line := range plan {
		text += "  " + oneLine(line) + "\n"
	}
	_, err := io.WriteString(w, text+after)
	return err
}
