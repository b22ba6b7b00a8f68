package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func groupsCommand() command {
	return command{
		name: "groups", summary: "list the Raft groups, their replicas and leaders",
		detail: `Group 1 is the directory. Voters, learners (which do not vote yet) and leaving
replicas are named by their nodes. LAG is how many log entries the slowest voter
that lives has to apply yet.
`,
		setup: func(set *flag.FlagSet) action {
			return setUpCluster(set, func(std streams, c *client, state cluster) error {
				view := newGroupsView(state)
				return show(std, c, view, func(w io.Writer) error { return writeGroups(w, view, state) }, nil)
			})
		},
	}
}

type groupsView struct {
	Groups []raftGroupView `json:"groups"`
}

type raftGroupView struct {
	ID    uint64 `json:"group_id"`
	State string `json:"state"`
	// Empty if unknown.
	Leader   string             `json:"leader_node_id"`
	Term     uint64             `json:"term"`
	Applied  uint64             `json:"applied_index"`
	Lag      uint64             `json:"lag"`
	Blocks   uint64             `json:"blocks"`
	Bytes    uint64             `json:"object_bytes"`
	Replicas []groupReplicaView `json:"replicas"`
	Ranges   []rangeView        `json:"ranges"`
}

type groupReplicaView struct {
	ReplicaID uint64 `json:"replica_id"`
	NodeID    string `json:"node_id"`
	Role      string `json:"role"`
	// The node lives and reported the replica.
	Reported bool   `json:"reported"`
	State    string `json:"state"`
	Applied  uint64 `json:"applied_index"`
	Error    string `json:"error,omitempty"`
}

func newGroupsView(state cluster) groupsView {
	view := groupsView{Groups: []raftGroupView{}}
	for _, group := range state.GetMap().GetGroups() {
		view.Groups = append(view.Groups, newRaftGroupView(state, group))
	}
	return view
}

func newRaftGroupView(state cluster, group *clusterv1.Group) raftGroupView {
	lead := state.leader(group.GetGroupId())
	view := raftGroupView{
		ID: group.GetGroupId(), State: enumName(group.GetState().String(), "GROUP_STATE_"),
		Leader: lead.node, Term: lead.term, Replicas: []groupReplicaView{}, Ranges: []rangeView{},
	}
	slowest := uint64(math.MaxUint64)
	for _, replica := range group.GetReplicas() {
		r := groupReplicaView{
			ReplicaID: replica.GetReplicaId(), NodeID: replica.GetNodeId(),
			Role: enumName(replica.GetRole().String(), "REPLICA_ROLE_"), State: "unknown",
		}
		if report := state.report(replica.GetNodeId(), group.GetGroupId()); report != nil {
			r.Reported, r.Applied, r.Error = true, report.GetAppliedIndex(), report.GetError()
			r.State = enumName(report.GetState().String(), "REPLICA_STATE_")
			if replica.GetRole() == clusterv1.ReplicaRole_REPLICA_ROLE_VOTER {
				slowest = min(slowest, r.Applied)
			}
			if r.Applied >= view.Applied {
				view.Applied, view.Blocks, view.Bytes = r.Applied, report.GetBlocks(), report.GetObjectBytes()
			}
		}
		view.Replicas = append(view.Replicas, r)
	}
	if slowest < view.Applied {
		view.Lag = view.Applied - slowest
	}
	for _, r := range state.GetMap().GetRanges() {
		if r.GetGroupId() == view.ID {
			view.Ranges = append(view.Ranges, newRangeView(r))
		}
	}
	return view
}

// report is what a node that lives says about its replica of a group.
func (s cluster) report(node string, group uint64) *nodev1.GroupReplica {
	live := s.live(node)
	if !live.GetAlive() {
		return nil
	}
	for _, replica := range live.GetReport().GetReplicas() {
		if replica.GetGroupId() == group {
			return replica
		}
	}
	return nil
}

func writeGroups(w io.Writer, view groupsView, state cluster) error {
	shorten := state.shortener()
	if err := writeClusterLine(w, state, shorten); err != nil {
		return err
	}
	table := newGrid("GROUP", "STATE", "VOTERS", "LEARNERS", "LEAVING", "LEADER", "TERM", "APPLIED", "LAG", "BLOCKS", "SIZE", "RANGES", "ERROR")
	for _, g := range view.Groups {
		table.row(g.ID, g.State, g.nodes("voter", shorten), g.nodes("learner", shorten), g.nodes("leaving", shorten), shorten(g.Leader),
			g.Term, g.Applied, g.Lag, thousands(g.Blocks), sizeText(g.Bytes), spans(g.Ranges), g.faults(shorten))
	}
	return table.write(w)
}

func (g raftGroupView) nodes(role string, shorten func(string) string) string {
	var all []string
	for _, r := range g.Replicas {
		if r.Role == role {
			all = append(all, shorten(r.NodeID))
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (g raftGroupView) faults(shorten func(string) string) string {
	var all []string
	for _, r := range g.Replicas {
		if r.Error != "" {
			all = append(all, oneLine(shorten(r.NodeID)+": "+r.Error))
		}
	}
	return strings.Join(all, "\n")
}

func groupsCreateCommand() command {
	return command{
		name: "groups create", summary: "make empty groups, for ranges to move to",
		detail: "The directory chooses the nodes. A group can be used once it is active.\n\n" + changeHelp,
		setup:  setUpGroupsCreate,
	}
}

func setUpGroupsCreate(set *flag.FlagSet) action {
	ch := changeFlags(set)
	count := set.Uint("count", 1, "`N` how many")
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		if *count < 1 || *count > 1000 {
			return flags.Usagef("-count is %d: want 1 to 1000", *count)
		}
		return ch.run(ctx, std, func(*asker) (*wish, error) {
			return &wish{
				action: func(request *nodev1.OperateRequest) {
					request.Action = &nodev1.OperateRequest_CreateGroups{CreateGroups: &nodev1.CreateGroupsAction{Count: uint32(*count)}}
				},
				left:  groupsNotActive,
				watch: "skerry groups",
			}, nil
		})
	}
}

func groupsNotActive(state cluster, answer *nodev1.OperateResponse) (string, error) {
	waiting := uint64(0)
	for _, id := range answer.GetGroupIds() {
		if state.group(id).GetState() != clusterv1.GroupState_GROUP_STATE_ACTIVE {
			waiting++
		}
	}
	if waiting == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s not active yet", plural(waiting, "group")), nil
}
