package placement_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// The simulation: machines that fail, groups that agree while a majority lives, a
// directory, operators, and a controller whose messages get lost, come twice, or
// come late. One round is one second.

const (
	up         = clusterv1.NodeState_NODE_STATE_UP
	draining   = clusterv1.NodeState_NODE_STATE_DRAINING
	leavingNow = clusterv1.NodeState_NODE_STATE_DECOMMISSIONING
	lost       = clusterv1.NodeState_NODE_STATE_LOST
	removed    = clusterv1.NodeState_NODE_STATE_REMOVED
	voter      = clusterv1.ReplicaRole_REPLICA_ROLE_VOTER
	learner    = clusterv1.ReplicaRole_REPLICA_ROLE_LEARNER
	leaving    = clusterv1.ReplicaRole_REPLICA_ROLE_LEAVING
)

const start = planner.Time(1_000_000 * int64(time.Second))

// Plan under test: placement.Plan, or what a test puts in its place.
type planFunc func(placement.Picture, placement.Config) ([]placement.Action, []string)

type machine struct {
	id    string
	alive bool
	// Round of the last change of what it can do.
	since int
	gone  bool
	disk  nodev1.DiskReport
	stop  bool
	// Replicas that cannot be started.
	failed map[uint64]bool
}

// raft is the truth about a group.
type raft struct {
	members *nodev1.Membership
	leader  uint64
	term    uint64
	commit  uint64
	applied map[uint64]uint64
	// Membership as a replica has applied it.
	seen map[uint64]*nodev1.Membership
	// When its number of voters last changed.
	changed int
}

type cluster struct {
	random   *rand.Rand
	c        placement.Config
	plan     planFunc
	round    int
	since    planner.Time
	m        *clusterv1.RangeMap
	machines map[string]*machine
	groups   map[uint64]*raft
	views    map[string]placement.NodeView
	// Messages that come late.
	late []placement.Action
	// How often an action was carried out, by kind.
	done map[placement.Kind]int
	// Faults happen.
	bad bool
	// Replicas whose rows were VOTER.
	counted map[uint64]bool
}

func (s *cluster) now() planner.Time { return start.Add(time.Duration(s.round) * time.Second) }

func (s *cluster) row(id string) *clusterv1.Node {
	for _, n := range s.m.Nodes {
		if n.NodeId == id {
			return n
		}
	}
	return nil
}

func (s *cluster) group(id uint64) *clusterv1.Group {
	for _, g := range s.m.Groups {
		if g.GroupId == id {
			return g
		}
	}
	return nil
}

func newCluster(seed uint64, plan planFunc) *cluster {
	s := &cluster{
		random: rand.New(rand.NewPCG(seed, 7)), c: placement.Defaults(), plan: plan, since: start, machines: map[string]*machine{},
		groups: map[uint64]*raft{}, views: map[string]placement.NodeView{}, done: map[placement.Kind]int{}, counted: map[uint64]bool{},
		m: &clusterv1.RangeMap{Cluster: &clusterv1.Cluster{
			NextReplicaId: 1, NextGroupId: 1,
			Settings: &clusterv1.Settings{RepairAfter: int64(30 * time.Second)},
		}},
	}
	zones := s.random.IntN(5)
	for range 1 + s.random.IntN(6) {
		s.join(zones)
	}
	for range 1 + s.random.IntN(6) {
		s.found()
	}
	return s
}

func (s *cluster) join(zones int) {
	id := fmt.Sprintf("n%d", len(s.m.Nodes)+1)
	zone := ""
	if zones > 0 {
		zone = string(rune('a' + s.random.IntN(zones)))
	}
	s.m.Nodes = append(s.m.Nodes, &clusterv1.Node{NodeId: id, Zone: zone, State: up})
	s.machines[id] = &machine{id: id, alive: true, since: s.round, failed: map[uint64]bool{}}
	s.report(s.machines[id])
}

// found makes a group on the nodes that are chosen.
func (s *cluster) found() {
	nodes, err := placement.ChooseNodes(s.picture(), s.c)
	if err != nil {
		return
	}
	g := &clusterv1.Group{GroupId: s.m.Cluster.NextGroupId, State: clusterv1.GroupState_GROUP_STATE_CREATING}
	s.m.Cluster.NextGroupId++
	r := &raft{applied: map[uint64]uint64{}, seen: map[uint64]*nodev1.Membership{}, commit: 1, changed: s.round}
	r.members = &nodev1.Membership{ConfigId: 1, Voters: map[uint64]string{}, Learners: map[uint64]string{}}
	for _, n := range nodes {
		id := s.m.Cluster.NextReplicaId
		s.m.Cluster.NextReplicaId++
		g.Replicas = append(g.Replicas, &clusterv1.Replica{ReplicaId: id, NodeId: n, Role: voter})
		r.members.Voters[id] = n
		s.counted[id] = true
	}
	s.m.Groups = append(s.m.Groups, g)
	s.m.Ranges = append(s.m.Ranges, &clusterv1.Range{GroupId: g.GroupId, Keyspace: clusterv1.Keyspace(1 + s.random.IntN(2))})
	s.groups[g.GroupId] = r
}

// picture is what the controller sees.
func (s *cluster) picture() placement.Picture {
	return placement.Picture{Map: s.m, Nodes: s.views, Now: s.now(), Since: s.since}
}

// report takes a node's report, maybe one that has seen little.
func (s *cluster) report(at *machine) {
	if !at.alive {
		return
	}
	report := &nodev1.NodeReport{Node: s.row(at.id), Disk: &nodev1.DiskReport{Level: at.disk.Level, Health: at.disk.Health}, Stopping: at.stop}
	for _, g := range s.m.Groups {
		r := s.groups[g.GroupId]
		for _, row := range g.Replicas {
			if row.NodeId != at.id {
				continue
			}
			leader, state := r.leader, nodev1.ReplicaState_REPLICA_STATE_RUNNING
			if at.failed[row.ReplicaId] {
				leader, state = 0, nodev1.ReplicaState_REPLICA_STATE_FAILED
			}
			if s.bad && s.chance(20) {
				leader = 0
			}
			report.Replicas = append(report.Replicas, &nodev1.GroupReplica{
				GroupId: g.GroupId, ReplicaId: row.ReplicaId, LeaderReplicaId: leader, Term: r.term, AppliedIndex: r.applied[row.ReplicaId],
				Membership: r.seen[row.ReplicaId], Initialised: r.applied[row.ReplicaId] > 0, State: state,
			})
		}
	}
	view := s.views[at.id]
	if view.LastHeard == 0 || s.now().Sub(view.LastHeard) > 5*time.Second {
		view.HeardSince = s.now()
	}
	view.LastHeard, view.Report = s.now(), report
	s.views[at.id] = view
}

func (s *cluster) chance(percent int) bool { return s.random.IntN(100) < percent }

func (s *cluster) pick() *machine {
	ids := slices.Sorted(maps.Keys(s.machines))
	return s.machines[ids[s.random.IntN(len(ids))]]
}

// live counts a group's voters on machines that run, or did until lately.
func (s *cluster) live(r *raft, within int) int {
	n := 0
	for id, on := range r.members.Voters {
		if at := s.machines[on]; s.runs(id, on) || within > 0 && s.round-at.since <= within {
			n++
		}
	}
	return n
}

func (s *cluster) runs(replica uint64, on string) bool {
	return s.machines[on].alive && !s.machines[on].failed[replica]
}

// work lets the groups go on for a second.
func (s *cluster) work() {
	for _, g := range s.m.Groups {
		r := s.groups[g.GroupId]
		if s.live(r, 0) <= len(r.members.Voters)/2 {
			continue
		}
		if on, ok := r.members.Voters[r.leader]; !ok || !s.runs(r.leader, on) {
			var can []uint64
			for _, id := range slices.Sorted(maps.Keys(r.members.Voters)) {
				if s.runs(id, r.members.Voters[id]) {
					can = append(can, id)
				}
			}
			r.leader = can[s.random.IntN(len(can))]
			r.term++
		}
		r.commit += uint64(s.random.IntN(200))
		for _, row := range g.Replicas {
			_, isVoter := r.members.Voters[row.ReplicaId]
			_, isLearner := r.members.Learners[row.ReplicaId]
			if !s.runs(row.ReplicaId, row.NodeId) || !isVoter && !isLearner {
				continue
			}
			// Voters are up to date; learners need some rounds.
			next := r.commit
			if row.ReplicaId != r.leader && r.commit > r.applied[row.ReplicaId]+400 && s.chance(80) {
				next = r.applied[row.ReplicaId] + (r.commit-r.applied[row.ReplicaId])/3
			}
			r.applied[row.ReplicaId] = next
			if !s.bad || s.chance(70) {
				r.seen[row.ReplicaId] = copyOf(r.members)
			}
		}
	}
}

func copyOf(m *nodev1.Membership) *nodev1.Membership {
	return &nodev1.Membership{ConfigId: m.ConfigId, Voters: maps.Clone(m.Voters), Learners: maps.Clone(m.Learners), Removed: slices.Clone(m.Removed)}
}

// step is one second.
func (s *cluster) step() (actions []placement.Action, err error) {
	s.round++
	if s.bad {
		s.trouble()
	}
	s.work()
	for _, id := range slices.Sorted(maps.Keys(s.machines)) {
		if !s.bad || s.chance(80) {
			s.report(s.machines[id])
		}
	}
	var notes []string
	actions, notes = s.plan(s.picture(), s.c)
	_ = notes
	queue := append(s.late, actions...)
	s.late = nil
	if s.bad && s.chance(20) {
		s.random.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
	}
	for _, a := range queue {
		times := 1
		if s.bad {
			switch s.random.IntN(10) {
			case 0:
				times = 0
			case 1:
				times = 2
			case 2:
				times = 0
				s.late = append(s.late, a)
			}
		}
		for range times {
			if err := s.carryOut(a); err != nil {
				return actions, fmt.Errorf("round %d: %v: %w", s.round, a, err)
			}
		}
	}
	return actions, s.check()
}
