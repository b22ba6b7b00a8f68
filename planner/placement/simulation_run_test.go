package placement_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

var (
	seeds = flag.Int("seeds", 60, "runs of the simulation")
	seed  = flag.Uint64("seed", 0, "run this one only")
)

// run lets a cluster go through a bad time and then heal. It must come to rest, and
// then be what is wanted.
func run(seed uint64, plan planFunc) (s *cluster, err error) {
	s = newCluster(seed, plan)
	s.bad = true
	for range 100 + s.random.IntN(300) {
		if _, err := s.step(); err != nil {
			return s, fmt.Errorf("seed %d: %w", seed, err)
		}
	}
	s.bad = false
	s.late = nil
	drained := ""
	for id, at := range s.machines {
		s.turn(at, true)
		if at.stop || len(at.failed) > 0 || at.disk.Level > nodev1.DiskReport_LEVEL_NORMAL || at.disk.Health > nodev1.DiskReport_HEALTH_GOOD {
			at.stop, at.failed, at.since = false, map[uint64]bool{}, s.round
		}
		at.disk.Level, at.disk.Health = nodev1.DiskReport_LEVEL_NORMAL, nodev1.DiskReport_HEALTH_GOOD
		if s.row(id).State == draining {
			drained = max(drained, id)
		}
	}
	for _, n := range s.m.Nodes {
		if n.State == draining && n.NodeId != drained {
			n.State = up
		}
	}
	if err := s.rest(); err != nil {
		return s, fmt.Errorf("seed %d, at rest: %w", seed, err)
	}
	if drained != "" {
		if err := s.leadsNothing(drained); err != nil {
			return s, fmt.Errorf("seed %d: %w", seed, err)
		}
		s.row(drained).State = up
		if err := s.rest(); err != nil {
			return s, fmt.Errorf("seed %d, at rest again: %w", seed, err)
		}
	}
	if err := s.wanted(); err != nil {
		return s, fmt.Errorf("seed %d: %w\n%s", seed, err, s.describe())
	}
	return s, nil
}

// rest runs until nothing is done for a while.
func (s *cluster) rest() error {
	quiet := 0
	var last []placement.Action
	for range 1500 {
		actions, err := s.step()
		if err != nil {
			return err
		}
		quiet++
		if len(actions) > 0 {
			quiet, last = 0, actions
		}
		if quiet > 90 {
			return nil
		}
	}
	_, notes := s.plan(s.picture(), s.c)
	return fmt.Errorf("never: still %v\n%v\n%s", last, notes, s.describe())
}

func (s *cluster) leadsNothing(id string) error {
	for _, g := range s.m.Groups {
		r := s.groups[g.GroupId]
		if r.members.Voters[r.leader] == id && len(r.members.Voters) > 1 {
			return fmt.Errorf("group %d is led by the drained node %s\n%s", g.GroupId, id, s.describe())
		}
	}
	return nil
}

// wanted compares with what everybody would draw on paper.
func (s *cluster) wanted() error {
	zones := map[string]int{}
	load, leads, usable := map[string]int{}, map[string]int{}, 0
	for _, n := range s.m.Nodes {
		switch n.State {
		case up:
			usable++
			zones[zoneOf(n.Zone, n.NodeId)]++
			load[n.NodeId], leads[n.NodeId] = 0, 0
		case removed:
		default:
			return fmt.Errorf("node %s is still %v", n.NodeId, n.State)
		}
	}
	for _, g := range s.m.Groups {
		r := s.groups[g.GroupId]
		factor := placement.Factor(s.m.Cluster.Settings, g.GroupId)
		want := min(factor, usable)
		have := len(r.members.Voters)
		if odd := want - 1 + want%2; have != odd && (want != 2 || have != 2) || len(r.members.Learners) > 0 || have != len(g.Replicas) {
			return fmt.Errorf("group %d has %d voters, wanted %d", g.GroupId, have, odd)
		}
		in := map[string]int{}
		for id, on := range r.members.Voters {
			i := slices.IndexFunc(g.Replicas, func(row *clusterv1.Replica) bool { return row.ReplicaId == id })
			if i < 0 || g.Replicas[i].Role != voter {
				return fmt.Errorf("group %d: member %d is not in the map as a voter", g.GroupId, id)
			}
			in[zoneOf(s.row(on).Zone, on)]++
			load[on]++
		}
		if usable > 2 && squares(in) != leastSquares(zones, have) {
			return fmt.Errorf("group %d is not spread over zones as it could be: %v of %v", g.GroupId, in, zones)
		}
		leads[r.members.Voters[r.leader]] += s.weight(g.GroupId)
	}
	if low, high := bounds(leads); s.everywhere(usable) && high-low > 2 {
		return fmt.Errorf("leaders are uneven: %v", leads)
	}
	if usable > 2 && len(zones) == usable {
		if low, high := bounds(load); high-low > 1 {
			return fmt.Errorf("replicas are uneven: %v", load)
		}
	}
	return nil
}

func (s *cluster) weight(group uint64) int {
	for _, r := range s.m.Ranges {
		if r.GroupId == group && r.Keyspace == clusterv1.Keyspace_KEYSPACE_STREAM {
			return 2
		}
	}
	return 1
}

// everywhere: each node has a replica of each group, and may lead any.
func (s *cluster) everywhere(usable int) bool {
	return !slices.ContainsFunc(s.m.Groups, func(g *clusterv1.Group) bool { return len(g.Replicas) < usable })
}

func bounds(in map[string]int) (low, high int) {
	low = 1 << 30
	for _, n := range in {
		low, high = min(low, n), max(high, n)
	}
	return low, high
}

func zoneOf(zone, node string) string {
	if zone == "" {
		return "node " + node
	}
	return zone
}

func squares(in map[string]int) int {
	sum := 0
	for _, n := range in {
		sum += n * n
	}
	return sum
}

// leastSquares spreads replicas one by one over the emptiest zone that has a node left.
func leastSquares(zones map[string]int, replicas int) int {
	in := map[string]int{}
	for range replicas {
		chosen := ""
		for zone, nodes := range zones {
			if in[zone] < nodes && (chosen == "" || in[zone] < in[chosen]) {
				chosen = zone
			}
		}
		in[chosen]++
	}
	return squares(in)
}

func (s *cluster) describe() string {
	out := ""
	for _, n := range s.m.Nodes {
		out += fmt.Sprintf("node %s %v zone %q %+v\n", n.NodeId, n.State, n.Zone, s.machines[n.NodeId])
	}
	for _, g := range s.m.Groups {
		r := s.groups[g.GroupId]
		out += fmt.Sprintf("group %d %v %v: %v leader %d commit %d applied %v\n", g.GroupId, g.State, g.Replicas, r.members.String(), r.leader, r.commit, r.applied)
	}
	return out
}

func TestSimulation(t *testing.T) {
	if *seed != 0 {
		if _, err := run(*seed, placement.Plan); err != nil {
			t.Fatal(err)
		}
		return
	}
	for seed := range uint64(*seeds) {
		if _, err := run(seed, placement.Plan); err != nil {
			t.Fatal(err)
		}
	}
}
