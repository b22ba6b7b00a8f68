package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func leadersCommand() command {
	return command{
		name: "leaders", summary: "show which node leads which group, and how many each",
		setup: func(set *flag.FlagSet) action {
			return setUpCluster(set, func(std streams, c *client, state cluster) error {
				view := newLeadersView(state)
				return show(std, c, view, func(w io.Writer) error { return writeLeaders(w, view, state) }, nil)
			})
		},
	}
}

type leadersView struct {
	Groups []groupLeaderView `json:"groups"`
	Nodes  []nodeLeadersView `json:"nodes"`
}

type groupLeaderView struct {
	GroupID uint64 `json:"group_id"`
	// Empty if unknown.
	NodeID    string `json:"node_id"`
	ReplicaID uint64 `json:"replica_id"`
	Term      uint64 `json:"term"`
}

type nodeLeadersView struct {
	NodeID  string   `json:"node_id"`
	Leaders int      `json:"leaders"`
	Voters  int      `json:"voters"`
	Groups  []uint64 `json:"group_ids"`
}

func newLeadersView(state cluster) leadersView {
	view := leadersView{Groups: []groupLeaderView{}, Nodes: []nodeLeadersView{}}
	voters := map[string]int{}
	for _, group := range state.GetMap().GetGroups() {
		lead := state.leader(group.GetGroupId())
		view.Groups = append(view.Groups, groupLeaderView{group.GetGroupId(), lead.node, lead.replica, lead.term})
		for _, replica := range group.GetReplicas() {
			if replica.GetRole() == clusterv1.ReplicaRole_REPLICA_ROLE_VOTER {
				voters[replica.GetNodeId()]++
			}
		}
	}
	for _, node := range state.GetMap().GetNodes() {
		led := state.led(node.GetNodeId())
		if node.GetState() == clusterv1.NodeState_NODE_STATE_REMOVED && len(led) == 0 {
			continue
		}
		view.Nodes = append(view.Nodes, nodeLeadersView{node.GetNodeId(), len(led), voters[node.GetNodeId()], append([]uint64{}, led...)})
	}
	return view
}

func writeLeaders(w io.Writer, view leadersView, state cluster) error {
	shorten := state.shortener()
	if err := writeClusterLine(w, state, shorten); err != nil {
		return err
	}
	groups := newGrid("GROUP", "LEADER", "REPLICA", "TERM")
	for _, g := range view.Groups {
		if g.NodeID == "" {
			groups.row(g.GroupID, "unknown", "", "")
			continue
		}
		groups.row(g.GroupID, shorten(g.NodeID), g.ReplicaID, g.Term)
	}
	nodes := newGrid("NODE", "LEADERS", "VOTERS")
	for _, n := range view.Nodes {
		nodes.row(shorten(n.NodeID), n.Leaders, n.Voters)
	}
	return writeAll(w, groups.write, titled("per node", nodes))
}

func leadersTransferCommand() command {
	return command{
		name: "leaders transfer", args: "GROUP", summary: "let another node lead a group",
		detail: "The leader chooses when, and elections may undo it, as may the balancing of leaders; see: skerry settings\n\n" + changeHelp,
		setup:  setUpLeadersTransfer,
	}
}

func setUpLeadersTransfer(set *flag.FlagSet) action {
	ch := changeFlags(set)
	to := set.String("to", "", "`NODE` that is to lead, a voter; without, any other voter")
	return func(ctx context.Context, std streams, args []string) error {
		group, err := oneID(args, "group", "skerry groups")
		if err != nil {
			return err
		}
		return ch.run(ctx, std, func(ask *asker) (*wish, error) {
			state, err := ask.cluster()
			if err != nil {
				return nil, err
			}
			if state.group(group) == nil {
				return nil, fmt.Errorf("there is no group %d: see: skerry groups", group)
			}
			before, target := state.leader(group).node, ""
			if *to != "" {
				node, err := state.find(*to)
				if err != nil {
					return nil, fmt.Errorf("-to: %w", err)
				}
				target = node.GetNodeId()
				if !slices.ContainsFunc(state.group(group).GetReplicas(), func(r *clusterv1.Replica) bool {
					return r.GetNodeId() == target && r.GetRole() == clusterv1.ReplicaRole_REPLICA_ROLE_VOTER
				}) {
					return nil, fmt.Errorf("node %s is no voter of group %d: see: skerry groups", target, group)
				}
			}
			return &wish{
				action: func(request *nodev1.OperateRequest) {
					request.Action = &nodev1.OperateRequest_TransferLeader{TransferLeader: &nodev1.TransferLeaderAction{GroupId: group, NodeId: target}}
				},
				left: func(state cluster, answer *nodev1.OperateResponse) (string, error) {
					now := state.leader(group).node
					switch {
					case now == "":
						return "no leader is known", nil
					case now == target, target == "" && (now != before || !answer.GetChanged()):
						return "", nil
					}
					return "led by " + now + " still", nil
				},
				watch: "skerry leaders",
			}, nil
		})
	}
}

// oneID reads the only argument, the number of something that a command lists.
func oneID(args []string, what, list string) (uint64, error) {
	if len(args) != 1 {
		return 0, flags.Usagef("give the number of one %s; see: %s", what, list)
	}
	id, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil || id == 0 {
		return 0, flags.Usagef("%q is no number of a %s; see: %s", args[0], what, list)
	}
	return id, nil
}
