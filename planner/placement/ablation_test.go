package placement_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// TestAblations: the simulation notices a planner without one of its rules.
func TestAblations(t *testing.T) {
	without := func(drop func(placement.Action) bool) planFunc {
		return func(p placement.Picture, c placement.Config) ([]placement.Action, []string) {
			actions, notes := placement.Plan(p, c)
			return slices.DeleteFunc(actions, drop), notes
		}
	}
	kind := func(k placement.Kind) planFunc {
		return without(func(a placement.Action) bool { return a.Kind == k })
	}
	because := func(reason string) planFunc {
		return without(func(a placement.Action) bool { return strings.Contains(a.Reason, reason) })
	}
	for name, ablation := range map[string]struct {
		plan planFunc
		want string
	}{
		"removes before it adds":          {removesFirst, "removed before added"},
		"takes everybody for alive":       {optimist, "voters would be alive"},
		"knows no zones":                  {zoneless, "not spread over zones"},
		"does not wait for learners":      {hasty, "entries behind"},
		"adds without bound":              {boundless, "at the same time"},
		"never rests":                     {restless, "never: still"},
		"adds nothing":                    {kind(placement.AddReplica), "voters, wanted"},
		"promotes nobody":                 {kind(placement.RaftPromote), "voters, wanted"},
		"removes nobody":                  {kind(placement.RaftRemove), "still"},
		"keeps the records of those left": {kind(placement.RemoveReplica), "still"},
		"keeps nodes that are empty":      {kind(placement.RemoveNode), "still"},
		"leaves leaders where they are":   {kind(placement.TransferLeader), "led by the drained node"},
		"does not balance leaders":        {because(" leads "), "leaders are uneven"},
		"does not balance replicas":       {because("to take the place of"), "uneven"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(400) {
				_, err := run(seed, ablation.plan)
				if err == nil {
					continue
				}
				if strings.Contains(err.Error(), ablation.want) {
					return
				}
			}
			t.Errorf("not noticed: %q", ablation.want)
		})
	}
}

func removesFirst(p placement.Picture, c placement.Config) ([]placement.Action, []string) {
	actions, notes := placement.Plan(p, c)
	states := map[string]clusterv1.NodeState{}
	for _, n := range p.Map.Nodes {
		states[n.NodeId] = n.State
	}
	for _, g := range p.Map.Groups {
		for _, r := range g.Replicas {
			if r.Role == voter && states[r.NodeId] == leavingNow {
				actions = append(actions, placement.Action{Kind: placement.SetRole, Group: g.GroupId, Replica: r.ReplicaId, Role: leaving})
			}
		}
	}
	return actions, notes
}

func optimist(p placement.Picture, c placement.Config) ([]placement.Action, []string) {
	p.Nodes = maps.Clone(p.Nodes)
	for id, view := range p.Nodes {
		view.LastHeard = p.Now
		p.Nodes[id] = view
	}
	return placement.Plan(p, c)
}

func zoneless(p placement.Picture, c placement.Config) ([]placement.Action, []string) {
	nodes := make([]*clusterv1.Node, len(p.Map.Nodes))
	for i, n := range p.Map.Nodes {
		nodes[i] = &clusterv1.Node{NodeId: n.NodeId, State: n.State}
	}
	p.Map = &clusterv1.RangeMap{Cluster: p.Map.Cluster, Nodes: nodes, Groups: p.Map.Groups, Ranges: p.Map.Ranges}
	return placement.Plan(p, c)
}

func hasty(p placement.Picture, c placement.Config) ([]placement.Action, []string) {
	c.GapMax = 1 << 40
	return placement.Plan(p, c)
}

func boundless(p placement.Picture, c placement.Config) ([]placement.Action, []string) {
	c.AddsMax = 1000
	return placement.Plan(p, c)
}

// restless moves replicas about for nothing.
func restless(p placement.Picture, c placement.Config) ([]placement.Action, []string) {
	actions, notes := placement.Plan(p, c)
	if len(actions) > 0 {
		return actions, notes
	}
	for _, g := range p.Map.Groups {
		for _, n := range p.Map.Nodes {
			on := func(r *clusterv1.Replica) bool { return r.NodeId == n.NodeId }
			if n.State == up && !slices.ContainsFunc(g.Replicas, on) {
				return []placement.Action{{Kind: placement.AddReplica, Group: g.GroupId, Node: n.NodeId}}, nil
			}
		}
	}
	return nil, nil
}

// TestSimulationMeetsEverything: every kind of action is taken in the runs.
func TestSimulationMeetsEverything(t *testing.T) {
	done := map[placement.Kind]int{}
	for seed := range uint64(30) {
		s, err := run(seed, placement.Plan)
		if err != nil {
			t.Fatal(err)
		}
		for kind, n := range s.done {
			done[kind] += n
		}
	}
	for _, kind := range []placement.Kind{
		placement.AddReplica, placement.SetRole, placement.RemoveReplica, placement.ActivateGroup, placement.RemoveNode,
		placement.RaftAddLearner, placement.RaftPromote, placement.RaftRemove, placement.TransferLeader,
	} {
		if done[kind] == 0 {
			t.Errorf("never: %v", kind)
		}
	}
}
