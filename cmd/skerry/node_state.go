package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func nodeStateCommands() []command {
	return []command{
		nodeStateCommand(nodeChange{
			name: "drain", summary: "make a node lead nothing, before it is restarted",
			detail: "The node keeps its replicas, gets no new ones, and its groups are led by others. End it with -off.\n",
			state:  clusterv1.NodeState_NODE_STATE_DRAINING, canEnd: true,
			left: func(state cluster, node string) string {
				if n := len(state.led(node)); n > 0 {
					return plural(uint64(n), "group") + " still led by it"
				}
				return ""
			},
		}),
		nodeStateCommand(nodeChange{
			name: "decommission", summary: "move a node's replicas elsewhere and remove it",
			detail: "The node works on while its replicas are made anew on others. It can be stopped once it is removed, and\nnever comes back. Change your mind with -off, as long as it is not removed.\n",
			state:  clusterv1.NodeState_NODE_STATE_DECOMMISSIONING, canEnd: true, left: replicasLeft,
		}),
		nodeStateCommand(nodeChange{
			name: "replace", summary: "give up a node that will never come back",
			detail: "Its replicas are made anew from those that are left, at once; then the node is removed. Should it come back,\nit is turned away. A node that still works is moved away from with: skerry decommission\n",
			state:  clusterv1.NodeState_NODE_STATE_LOST, left: replicasLeft,
		}),
	}
}

// replicasLeft tells what keeps a node from being removed.
func replicasLeft(state cluster, node string) string {
	record := state.node(node)
	if record == nil || record.GetState() == clusterv1.NodeState_NODE_STATE_REMOVED {
		return ""
	}
	if n := state.replicas(node); n > 0 {
		return plural(uint64(n), "replica") + " left"
	}
	return "no replicas left, not removed yet"
}

// nodeChange is a command that gives a node another state.
type nodeChange struct {
	name, summary, detail string
	state                 clusterv1.NodeState
	// There is a way back.
	canEnd bool
	// What is left to do; empty once all is done.
	left func(state cluster, node string) string
}

func nodeStateCommand(n nodeChange) command {
	return command{
		name: n.name, args: "NODE", summary: n.summary, detail: n.detail + "\n" + nodeHelp + "\n" + changeHelp,
		setup: n.setUp,
	}
}

func (n nodeChange) setUp(set *flag.FlagSet) action {
	ch := changeFlags(set)
	off := new(bool)
	if n.canEnd {
		set.BoolVar(off, "off", false, "end it: the node is as others again")
	}
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return flags.Usagef("give one node; see: skerry nodes")
		}
		return ch.run(ctx, std, func(ask *asker) (*wish, error) {
			state, err := ask.cluster()
			if err != nil {
				return nil, err
			}
			node, err := state.find(args[0])
			if err != nil {
				return nil, err
			}
			id := node.GetNodeId()
			if !*off {
				return &wish{
					action: setNodeState(id, n.state),
					watch:  "skerry nodes",
					left: func(state cluster, _ *nodev1.OperateResponse) (string, error) {
						if now := state.node(id).GetState(); now != n.state && now != clusterv1.NodeState_NODE_STATE_REMOVED && state.node(id) != nil {
							return "", fmt.Errorf("node %s is %s now: somebody else changed it", id, nodeState(now))
						}
						return n.left(state, id), nil
					},
				}, nil
			}
			if now := node.GetState(); now != n.state && now != clusterv1.NodeState_NODE_STATE_UP {
				return nil, fmt.Errorf("node %s is %s, not %s: there is nothing to end", id, nodeState(now), nodeState(n.state))
			}
			return &wish{action: setNodeState(id, clusterv1.NodeState_NODE_STATE_UP)}, nil
		})
	}
}
