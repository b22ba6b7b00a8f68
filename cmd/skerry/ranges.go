package main

import (
	"flag"
	"fmt"
	"io"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

func rangesCommand() command {
	return command{
		name: "ranges", summary: "list the ranges of the hash spaces, and the groups that own them",
		detail: `Bounds are hexadecimal points: LO is the first of the range, HI the first after it,
"end" the end of the space. OPERATION is the one that is about to replace the range.
`,
		setup: func(set *flag.FlagSet) action {
			return setUpCluster(set, func(std streams, c *client, state cluster) error {
				view := newRangesView(state)
				return show(std, c, view, func(w io.Writer) error { return writeRanges(w, view, state) }, nil)
			})
		},
	}
}

type rangesView struct {
	Ranges []ownedRangeView `json:"ranges"`
}

type ownedRangeView struct {
	rangeView
	GroupID uint64 `json:"group_id"`
	// 0 for none.
	OperationID uint64 `json:"operation_id"`
}

func newRangesView(state cluster) rangesView {
	view := rangesView{Ranges: []ownedRangeView{}}
	for _, r := range state.GetMap().GetRanges() {
		view.Ranges = append(view.Ranges, ownedRangeView{newRangeView(r), r.GetGroupId(), r.GetOperationId()})
	}
	return view
}

func writeRanges(w io.Writer, view rangesView, state cluster) error {
	if err := writeClusterLine(w, state, state.shortener()); err != nil {
		return err
	}
	table := newGrid("RANGE", "KEYSPACE", "LO", "HI", "SHARE", "GROUP", "EPOCH", "OPERATION")
	for _, r := range view.Ranges {
		operation := ""
		if r.OperationID != 0 {
			operation = fmt.Sprint(r.OperationID)
		}
		table.row(r.ID, r.Keyspace, r.Lo, endText(r.Hi), share(state.rangeOf(r.ID)), r.GroupID, r.Epoch, operation)
	}
	return table.write(w)
}

func endText(hi string) string {
	if hi == "0000000000000000" {
		return "end"
	}
	return hi
}

// share is the part of its space that a range covers.
func share(r *clusterv1.Range) string {
	points := float64(r.GetHi() - 1 - r.GetLo()) // the end of the space wraps
	return fmt.Sprintf("%.1f%%", 100*points/(1<<64))
}
