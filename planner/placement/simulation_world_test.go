package placement_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// trouble is what happens to machines, and what operators do.
func (s *cluster) trouble() {
	if s.chance(2) {
		// Another controller.
		s.since, s.late = s.now(), nil
		s.views = map[string]placement.NodeView{}
	}
	if !s.chance(12) {
		return
	}
	at := s.pick()
	switch s.random.IntN(14) {
	case 0, 1, 2:
		s.turn(at, false)
	case 3, 4, 5:
		s.turn(at, true)
	case 6:
		at.since = s.round
		at.disk.Level = nodev1.DiskReport_Level(1 + s.random.IntN(2))
		at.disk.Health = nodev1.DiskReport_Health(1 + s.random.IntN(2))
	case 7:
		at.stop, at.since = !at.stop, s.round
	case 8:
		if len(s.machines) < 9 {
			s.join(s.random.IntN(5))
		}
	case 9:
		if len(s.groups) < 8 {
			s.found()
		}
	case 10:
		s.m.Cluster.Settings.DirectoryReplicas = uint32(3 + 2*s.random.IntN(2))
	case 11, 12:
		s.operate(at)
	case 13:
		// One replica that runs cannot be started again.
		for _, g := range s.m.Groups {
			for _, r := range g.Replicas {
				if r.NodeId == at.id && len(at.failed) == 0 && at.alive {
					at.failed[r.ReplicaId], at.since = true, s.round
				}
			}
		}
	}
}

func (s *cluster) turn(at *machine, alive bool) {
	if at.alive != alive && !at.gone {
		at.alive, at.since = alive, s.round
	}
}

// operate changes a node's state if a check has nothing against it, or by force.
func (s *cluster) operate(at *machine) {
	to := clusterv1.NodeState(1 + s.random.IntN(4))
	row := s.row(at.id)
	verdict := placement.Check(s.picture(), s.c, at.id, to)
	force := to == leavingNow && s.chance(30)
	if len(verdict.Impossible) > 0 || len(verdict.Obstacles) > 0 && !force || row.State == to || s.now().Sub(s.since) < 10*time.Second {
		return
	}
	if to == lost {
		// Nobody who lives is called lost without force.
		at.gone = true
	}
	row.State = to
}

// carryOut is the directory and the groups, which refuse what does not fit.
func (s *cluster) carryOut(a placement.Action) error {
	g := s.group(a.Group)
	var row *clusterv1.Replica
	at := -1
	if g != nil {
		at = slices.IndexFunc(g.Replicas, func(r *clusterv1.Replica) bool { return r.ReplicaId == a.Replica })
		if at >= 0 {
			row = g.Replicas[at]
		}
	}
	switch a.Kind {
	case placement.ActivateGroup:
		g.State = clusterv1.GroupState_GROUP_STATE_ACTIVE
	case placement.RemoveNode:
		for _, g := range s.m.Groups {
			if slices.ContainsFunc(g.Replicas, func(r *clusterv1.Replica) bool { return r.NodeId == a.Node }) {
				return nil
			}
		}
		s.row(a.Node).State = removed
	case placement.AddReplica:
		if slices.ContainsFunc(g.Replicas, func(r *clusterv1.Replica) bool { return r.NodeId == a.Node }) {
			return nil
		}
		g.Replicas = append(g.Replicas, &clusterv1.Replica{ReplicaId: s.m.Cluster.NextReplicaId, NodeId: a.Node, Role: learner})
		s.m.Cluster.NextReplicaId++
	case placement.SetRole:
		others := slices.ContainsFunc(g.Replicas, func(r *clusterv1.Replica) bool { return r != row && r.Role == voter })
		if row == nil || row.Role == leaving || row.Role == voter && !others {
			return nil
		}
		row.Role = a.Role
		if a.Role == voter {
			s.counted[a.Replica] = true
		}
	case placement.RemoveReplica:
		if row == nil || row.Role != leaving {
			return nil
		}
		g.Replicas = slices.Delete(g.Replicas, at, at+1)
	case placement.TransferLeader:
		r := s.groups[a.Group]
		if on, ok := r.members.Voters[a.Replica]; ok && s.runs(a.Replica, on) && s.live(r, 0) > len(r.members.Voters)/2 && !s.chance(20) {
			r.leader = a.Replica
			r.term++
		}
	default:
		return s.change(a)
	}
	s.done[a.Kind]++
	return nil
}

// change changes a group's members.
func (s *cluster) change(a placement.Action) error {
	r := s.groups[a.Group]
	m := r.members
	if a.ConfigID != m.ConfigId || s.live(r, 0) <= len(m.Voters)/2 || slices.Contains(m.Removed, a.Replica) {
		return nil
	}
	voters := len(m.Voters)
	switch a.Kind {
	case placement.RaftAddLearner:
		if _, ok := m.Voters[a.Replica]; ok {
			return nil
		}
		m.Learners[a.Replica] = a.Node
	case placement.RaftPromote:
		if r.commit > r.applied[a.Replica]+s.c.GapMax+2000 {
			return fmt.Errorf("it is %d entries behind", r.commit-r.applied[a.Replica])
		}
		delete(m.Learners, a.Replica)
		m.Voters[a.Replica] = a.Node
	case placement.RaftRemove:
		if err := s.mayRemove(r, a); err != nil {
			return err
		}
		delete(m.Voters, a.Replica)
		delete(m.Learners, a.Replica)
		m.Removed = append(m.Removed, a.Replica)
	}
	if len(m.Voters) != voters {
		r.changed = s.round
	}
	m.ConfigId++
	// The old members agreed: their leader has applied it, and cannot be without it.
	r.seen[r.leader] = copyOf(m)
	s.done[a.Kind]++
	return nil
}

// mayRemove checks what a removal leaves.
func (s *cluster) mayRemove(r *raft, a placement.Action) error {
	on, votes := r.members.Voters[a.Replica]
	if !votes {
		return nil
	}
	rest := copyOf(r.members)
	delete(rest.Voters, a.Replica)
	left := &raft{members: rest}
	// What is younger than a few reports, nobody can know.
	if alive := s.live(left, 8); alive <= len(rest.Voters)/2 {
		return fmt.Errorf("%d of %d voters would be alive", alive, len(rest.Voters))
	}
	// Nodes that could have been given a replica first, for long enough to be sure.
	usable := 0
	for _, n := range s.m.Nodes {
		if at := s.machines[n.NodeId]; n.State == up && at.alive && s.round-at.since > 60 && at.disk.Level < 2 && at.disk.Health < 2 && !at.stop {
			usable++
		}
	}
	// One that became a voter behind everybody's back, and was given up meanwhile, is no loss.
	if want := min(3, usable); s.counted[a.Replica] && len(rest.Voters) < want-1+want%2 {
		return fmt.Errorf("%d voters would be left, on %s with %d usable nodes: removed before added", len(rest.Voters), on, usable)
	}
	return nil
}

// check checks what must always hold.
func (s *cluster) check() error {
	adding := 0
	for _, g := range s.m.Groups {
		r := s.groups[g.GroupId]
		nodes := map[string]bool{}
		for id, on := range r.members.Voters {
			if nodes[on] {
				return fmt.Errorf("round %d: group %d has two voters on node %s", s.round, g.GroupId, on)
			}
			nodes[on] = true
			if row := s.row(on); row.State == removed {
				return fmt.Errorf("round %d: group %d has voter %d on node %s, which is REMOVED", s.round, g.GroupId, id, on)
			}
		}
		if n := len(r.members.Voters); n == 0 {
			return errors.New("no voter")
		}
		for _, row := range g.Replicas {
			if _, votes := r.members.Voters[row.ReplicaId]; row.Role == learner && !votes && r.applied[row.ReplicaId] == 0 {
				adding++
			}
		}
	}
	if adding > s.c.AddsMax+4 {
		return fmt.Errorf("round %d: %d replicas are added at the same time", s.round, adding)
	}
	return nil
}
