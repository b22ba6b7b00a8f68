package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

func upgradeStatusCommand() command {
	return command{
		name: "upgrade status", summary: "show the nodes' releases, and the data formats they work with",
		detail: "Once all nodes run the new release: skerry upgrade finalize. Until then each can go back to the old one.\n",
		setup: func(set *flag.FlagSet) action {
			return setUpCluster(set, func(std streams, c *client, state cluster) error {
				view := newUpgradeView(state)
				return show(std, c, view, func(w io.Writer) error { return view.write(w, state) }, nil)
			})
		},
	}
}

type upgradeView struct {
	ActiveFormat uint32 `json:"active_format"`
	// The highest that all nodes work with; 0 if there is none.
	CommonFormat uint32            `json:"common_format"`
	Nodes        []nodeUpgradeView `json:"nodes"`
}

type nodeUpgradeView struct {
	NodeID    string `json:"node_id"`
	State     string `json:"state"`
	Version   string `json:"version"`
	MinFormat uint32 `json:"min_format"`
	MaxFormat uint32 `json:"max_format"`
}

func newUpgradeView(state cluster) upgradeView {
	view := upgradeView{ActiveFormat: state.GetMap().GetCluster().GetActiveVersion(), CommonFormat: commonFormat(state), Nodes: []nodeUpgradeView{}}
	for _, node := range present(state) {
		view.Nodes = append(view.Nodes, nodeUpgradeView{node.GetNodeId(), nodeState(node.GetState()), node.GetVersion(), node.GetMinFormat(), node.GetMaxFormat()})
	}
	return view
}

// present lists the nodes that are not removed.
func present(state cluster) []*clusterv1.Node {
	var nodes []*clusterv1.Node
	for _, node := range state.GetMap().GetNodes() {
		if node.GetState() != clusterv1.NodeState_NODE_STATE_REMOVED {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// commonFormat is the highest data format that all nodes work with.
func commonFormat(state cluster) uint32 {
	lowest, highest := uint32(0), uint32(math.MaxUint32)
	nodes := present(state)
	for _, node := range nodes {
		lowest, highest = max(lowest, node.GetMinFormat()), min(highest, node.GetMaxFormat())
	}
	if len(nodes) == 0 || highest < lowest {
		return 0
	}
	return highest
}

func (v upgradeView) write(w io.Writer, state cluster) error {
	shorten := state.shortener()
	table := newGrid("NODE", "STATE", "VERSION", "FORMATS")
	for _, n := range v.Nodes {
		table.row(shorten(n.NodeID), n.State, n.Version, fmt.Sprintf("%d to %d", n.MinFormat, n.MaxFormat))
	}
	if err := table.write(w); err != nil {
		return err
	}
	verdict := "it is the highest that all nodes work with"
	if v.CommonFormat > v.ActiveFormat {
		verdict = fmt.Sprintf("all nodes work with %d: once nobody wants to go back, run: skerry upgrade finalize", v.CommonFormat)
	}
	_, err := fmt.Fprintf(w, "\nformat %d is active; %s\n", v.ActiveFormat, verdict)
	return err
}

func upgradeFinalizeCommand() command {
	return command{
		name: "upgrade finalize", summary: "use the newest data format that all nodes work with",
		detail: "There is no way back: nodes of releases that do not know the format are turned away from then on.\n\n" + changeHelp,
		setup:  setUpUpgradeFinalize,
	}
}

func setUpUpgradeFinalize(set *flag.FlagSet) action {
	ch := changeFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		return ch.run(ctx, std, func(ask *asker) (*wish, error) {
			state, err := ask.cluster()
			if err != nil {
				return nil, err
			}
			view := newUpgradeView(state)
			if view.CommonFormat <= view.ActiveFormat {
				return &wish{nothing: fmt.Sprintf("format %d is active, and the highest that all nodes work with", view.ActiveFormat)}, nil
			}
			return &wish{action: func(request *nodev1.OperateRequest) {
				request.Action = &nodev1.OperateRequest_ActivateFormat{ActivateFormat: &raftlogv1.ActivateFormat{Format: view.CommonFormat}}
			}}, nil
		})
	}
}
