package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// clusterCommands are those that show and change the cluster as a whole.
func clusterCommands() []command {
	return slices.Concat([]command{
		doctorCommand(),
		nodesCommand(),
		groupsCommand(),
		groupsCreateCommand(),
		rangesCommand(),
		rangesSplitCommand(),
		rangesMergeCommand(),
		leadersCommand(),
		leadersTransferCommand(),
	}, nodeStateCommands(), []command{
		operationsCommand(),
		settingsCommand(),
		settingsSetCommand(),
		upgradeStatusCommand(),
		upgradeFinalizeCommand(),
		auditCommand(),
	})
}

// cluster is the state of the whole, as the directory's leader told it; or, if it
// has none, what a router knows without it: see whole.
type cluster struct {
	*nodev1.ClusterStateResponse
}

// whole tells whether the directory's leader told the state. If not, the map may
// be old, operations are missing, and alive is whom the router reaches.
func (s cluster) whole() bool { return s.GetLeaderNodeId() != "" }

func askCluster(ctx context.Context, c *client, conn grpc.ClientConnInterface) (cluster, error) {
	answer, err := call(ctx, c, adminv1.NewAdminServiceClient(conn).ClusterState, &adminv1.ClusterStateRequest{})
	return cluster{answer.GetState()}, err
}

// setUpCluster is for commands without arguments that show the cluster's state.
func setUpCluster(set *flag.FlagSet, write func(std streams, c *client, state cluster) error) action {
	c := clientFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		state, err := askCluster(ctx, c, conn)
		if err != nil {
			return err
		}
		return write(std, c, state)
	}
}

func (s cluster) node(id string) *clusterv1.Node {
	for _, node := range s.GetMap().GetNodes() {
		if node.GetNodeId() == id {
			return node
		}
	}
	return nil
}

func (s cluster) group(id uint64) *clusterv1.Group {
	for _, group := range s.GetMap().GetGroups() {
		if group.GetGroupId() == id {
			return group
		}
	}
	return nil
}

func (s cluster) rangeOf(id uint64) *clusterv1.Range {
	for _, r := range s.GetMap().GetRanges() {
		if r.GetRangeId() == id {
			return r
		}
	}
	return nil
}

// live returns what is known of a node's life; nil without any.
func (s cluster) live(id string) *nodev1.NodeLiveness {
	for _, live := range s.GetNodes() {
		if live.GetNodeId() == id {
			return live
		}
	}
	return nil
}

// replicas counts a node's, those that are about to leave included.
func (s cluster) replicas(node string) (n int) {
	for _, group := range s.GetMap().GetGroups() {
		for _, replica := range group.GetReplicas() {
			if replica.GetNodeId() == node {
				n++
			}
		}
	}
	return n
}

// leader is who leads a group, as far as anybody knows.
type leader struct {
	// Empty if unknown.
	node    string
	replica uint64
	term    uint64
}

// leader believes the report of the highest term.
func (s cluster) leader(group uint64) leader {
	var found leader
	for _, live := range s.GetNodes() {
		for _, report := range live.GetReport().GetReplicas() {
			id := report.GetLeaderReplicaId()
			if report.GetGroupId() != group || id == 0 || found.node != "" && report.GetTerm() <= found.term {
				continue
			}
			node := s.holder(group, id)
			if node == "" && id == report.GetReplicaId() {
				node = live.GetNodeId()
			}
			if node != "" {
				found = leader{node, id, report.GetTerm()}
			}
		}
	}
	return found
}

// holder is the node of a group's replica; empty if there is none.
func (s cluster) holder(group, replica uint64) string {
	for _, r := range s.group(group).GetReplicas() {
		if r.GetReplicaId() == replica {
			return r.GetNodeId()
		}
	}
	return ""
}

// led lists the groups that a node leads, in order of their ids.
func (s cluster) led(node string) []uint64 {
	var groups []uint64
	for _, group := range s.GetMap().GetGroups() {
		if s.leader(group.GetGroupId()).node == node {
			groups = append(groups, group.GetGroupId())
		}
	}
	return groups
}

// nodeHelp follows in the help of commands that take a node.
const nodeHelp = `NODE is the beginning of a node's id, or one of its addresses with or without port;
it must fit one node only.
`

// find returns the node that a person means. Nodes that were removed count only
// if no other fits: their addresses may be in use again.
func (s cluster) find(name string) (*clusterv1.Node, error) {
	var present, removed []*clusterv1.Node
	for _, node := range s.GetMap().GetNodes() {
		switch {
		case node.GetNodeId() == name:
			return node, nil
		case !strings.HasPrefix(node.GetNodeId(), name) && !isAt(node, name):
		case node.GetState() == clusterv1.NodeState_NODE_STATE_REMOVED:
			removed = append(removed, node)
		default:
			present = append(present, node)
		}
	}
	if len(present) == 0 {
		present = removed
	}
	switch len(present) {
	case 0:
		return nil, fmt.Errorf("no node is %q: see: skerry nodes", name)
	case 1:
		return present[0], nil
	}
	var all []string
	for _, node := range present {
		all = append(all, fmt.Sprintf("%s at %s", node.GetNodeId(), node.GetApiAddress()))
	}
	return nil, fmt.Errorf("%q may be any of %s: %s", name, plural(uint64(len(all)), "node"), strings.Join(all, ", "))
}

func isAt(node *clusterv1.Node, name string) bool {
	for _, address := range []string{node.GetApiAddress(), node.GetRaftAddress()} {
		host, _, err := net.SplitHostPort(address)
		if address == name || err == nil && host == name {
			return true
		}
	}
	return false
}

// shortener returns a function that cuts ids of nodes to as little as tells
// them apart.
func (s cluster) shortener() func(string) string {
	const least = 8
	length := least
	nodes := s.GetMap().GetNodes()
	for i, a := range nodes {
		for _, b := range nodes[:i] {
			common := 0
			for common < min(len(a.GetNodeId()), len(b.GetNodeId())) && a.GetNodeId()[common] == b.GetNodeId()[common] {
				common++
			}
			length = max(length, common+1)
		}
	}
	return func(id string) string { return id[:min(len(id), length)] }
}
