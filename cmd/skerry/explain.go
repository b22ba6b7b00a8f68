package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/router"
)

const explainHelp = `With -explain follows what the query cost: shards, blocks and bytes touched,
and the time of each group. It stands after a table; with other formats it goes
to standard error, so that the results stay what they are.
`

// explainer asks for the cost of a query and shows it.
type explainer struct {
	on      bool
	trailer metadata.MD
}

func explainFlag(set *flag.FlagSet) *explainer {
	e := new(explainer)
	set.BoolVar(&e.on, "explain", false, "also show what the query cost")
	return e
}

// prepare makes a call come back with its cost.
func (e *explainer) prepare(ctx context.Context) (context.Context, []grpc.CallOption) {
	if !e.on {
		return ctx, nil
	}
	return metadata.AppendToOutgoingContext(ctx, router.ExplainHeader, "1"), []grpc.CallOption{grpc.Trailer(&e.trailer)}
}

// finish shows the cost of a call that ended, with whatever error, which it
// returns.
func (e *explainer) finish(std streams, format string, err error) error {
	if !e.on {
		return err
	}
	values := e.trailer.Get(router.ExplainTrailer)
	if len(values) == 0 {
		if err == nil {
			err = errors.New("the server does not say what the query cost: is it an older release?")
		}
		return err
	}
	explanation := &adminv1.QueryExplanation{}
	if fault := explanation.UnmarshalVT([]byte(values[0])); fault != nil {
		return errors.Join(err, fmt.Errorf("the server's explanation cannot be read: %w", fault))
	}
	w := std.err
	if format == formatTable && err == nil {
		w = std.out
		fmt.Fprintln(w)
	}
	if format == formatJSON {
		return errors.Join(err, writeJSON(w, viewExplanation(explanation)))
	}
	return errors.Join(err, writeExplanation(w, explanation))
}

func writeExplanation(w io.Writer, e *adminv1.QueryExplanation) error {
	cost := e.GetCost()
	_, err := fmt.Fprintf(w, `time    %s, %s asked in %s (%s, %s%s)
shards  %s seen, %s skipped
blocks  %s tested, %s decoded, %s returned
bytes   %s returned, %s loaded

`,
		fine(e.GetElapsed()), plural(uint64(e.GetGroupsAsked()), "group"), plural(uint64(e.GetNodeCalls()), "call"),
		tries(e.GetRetries(), "retry", "retries"), tries(e.GetReroutes(), "reroute", "reroutes"), rounds(e.GetExtraRounds()),
		thousands(cost.GetShards()), thousands(cost.GetShardsSkipped()),
		thousands(cost.GetBlocksTested()), thousands(cost.GetBlocksDecoded()), thousands(cost.GetBlocksReturned()),
		sizeText(cost.GetBytesReturned()), sizeText(cost.GetBytesLoaded()))
	if err != nil {
		return err
	}
	table := newGrid("GROUP", "NODE", "TIME", "CALLS", "SHARDS", "SKIPPED", "TESTED", "DECODED", "RETURNED", "SIZE", "LOADED")
	for _, group := range e.GetGroups() {
		cost := group.GetCost()
		table.row(group.GetGroupId(), short(group.GetNodeId()), fine(group.GetElapsed()), group.GetNodeCalls(),
			thousands(cost.GetShards()), thousands(cost.GetShardsSkipped()), thousands(cost.GetBlocksTested()),
			thousands(cost.GetBlocksDecoded()), thousands(cost.GetBlocksReturned()), sizeText(cost.GetBytesReturned()), sizeText(cost.GetBytesLoaded()))
	}
	if err := table.write(w); err != nil {
		return err
	}
	if left := int(e.GetGroupsAsked()) - len(e.GetGroups()); left > 0 {
		_, err = fmt.Fprintf(w, "and %s\n", plural(uint64(left), "faster group"))
	}
	return err
}

// fine writes nanoseconds with as many digits as tell something.
func fine(nanoseconds int64) string {
	d := time.Duration(nanoseconds)
	switch {
	case d < 10*time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(10 * time.Millisecond).String()
	}
}

func tries(n uint32, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// rounds tells nothing of the usual case.
func rounds(extra uint32) string {
	if extra == 0 {
		return ""
	}
	return ", " + tries(extra, "extra round", "extra rounds")
}

// explanationView is an explanation as JSON.
type explanationView struct {
	Cost     map[string]uint64 `json:"cost"`
	Groups   uint32            `json:"groups_asked"`
	Calls    uint32            `json:"node_calls"`
	Retries  uint32            `json:"retries"`
	Reroutes uint32            `json:"reroutes"`
	Rounds   uint32            `json:"extra_rounds"`
	Seconds  float64           `json:"seconds"`
	Slowest  []groupView       `json:"groups"`
}

type groupView struct {
	Group   uint64            `json:"group"`
	Node    string            `json:"node"`
	Calls   uint32            `json:"node_calls"`
	Seconds float64           `json:"seconds"`
	Cost    map[string]uint64 `json:"cost"`
}

func viewExplanation(e *adminv1.QueryExplanation) explanationView {
	view := explanationView{
		Cost: costView(e.GetCost()), Groups: e.GetGroupsAsked(), Calls: e.GetNodeCalls(),
		Retries: e.GetRetries(), Reroutes: e.GetReroutes(), Rounds: e.GetExtraRounds(), Seconds: time.Duration(e.GetElapsed()).Seconds(),
	}
	for _, g := range e.GetGroups() {
		view.Slowest = append(view.Slowest, groupView{
			g.GetGroupId(), g.GetNodeId(), g.GetNodeCalls(), time.Duration(g.GetElapsed()).Seconds(), costView(g.GetCost()),
		})
	}
	return view
}

func costView(cost *nodev1.QueryCost) map[string]uint64 {
	view := map[string]uint64{}
	for _, item := range nodev1.CostItems() {
		if cost != nil {
			view[item.Name] = *item.Of(cost)
		}
	}
	return view
}
