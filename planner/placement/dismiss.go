package placement

import (
	"cmp"
	"slices"
)

// dismiss begins to remove a replica that is replaced or not wanted; false if there
// is none, or if it must wait.
func (w *world) dismiss(g *group) bool {
	if slices.ContainsFunc(g.rows, func(r *replica) bool { return r.role == leavingRole }) {
		return false
	}
	voters, alive := g.count()
	now, kept, goal := slack(voters, alive), g.kept(), w.goal(g, true)
	voting := votersOf(kept)
	for _, r := range g.troubled() {
		after := g.slackWithout(r)
		switch {
		case !r.voter:
			// One that cannot be started, and is not needed any more.
			if voting >= goal {
				w.setRole(g, r, leavingRole, "%s", r.trouble())
				return true
			}
		case !g.otherVoterRow(r):
		case r.gone() && (voting >= goal || voters-1 >= goal && after >= now):
			return w.retire(g, r, after)
		case r.gone():
			if goal > w.goal(g, false) {
				w.note("group %d: replica %d is to go since %s; %s", g.id, r.id, r.trouble(), w.noTarget(g))
			}
		// Silent ones may come back: only if somebody is there in their place.
		case after > now:
			w.setRole(g, r, leavingRole, "%s", r.trouble())
			return true
		}
	}
	r := w.surplus(g)
	switch {
	case r == nil:
	case !r.voter:
		w.setRole(g, r, leavingRole, "it is not needed any more")
		return true
	// A voter goes only when those that take its place vote.
	case voting < len(kept) || !g.otherVoterRow(r):
	case g.slackWithout(r) >= min(now, slack(goal, goal)):
		w.setRole(g, r, leavingRole, "%d voters are enough, and the others are spread best", goal)
		return true
	}
	return false
}

func votersOf(rows []*replica) int {
	n := 0
	for _, r := range rows {
		n += yes(r.voter)
	}
	return n
}

// retire begins to remove a voter that an operator wants gone.
func (w *world) retire(g *group, r *replica, after int) bool {
	if after < 0 {
		w.note("group %d: replica %d is to go since %s, but the rest would have no quorum; %s", g.id, r.id, r.trouble(), g.missing())
		return false
	}
	if rest := len(g.voters()) - 1; rest < g.factor {
		w.note("group %d: %d of %d voters remain: there are no nodes for more", g.id, rest, g.factor)
	}
	w.setRole(g, r, leavingRole, "%s", r.trouble())
	return true
}

// troubled are the rows that have to go, those first that do not answer.
func (g *group) troubled() []*replica {
	var out []*replica
	for _, r := range g.rows {
		if r.role != leavingRole && r.trouble() != "" {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *replica) int { return compare(yes(a.alive()), yes(b.alive())) })
	return out
}

// surplus is the kept row to go if there are more than the goal; nil otherwise. A
// learner that is chosen is not worth waiting for.
func (w *world) surplus(g *group) *replica {
	kept, goal := g.kept(), w.goal(g, false)
	if len(kept) <= goal {
		return nil
	}
	if !w.movable(g) {
		if learners := slices.DeleteFunc(slices.Clone(kept), func(r *replica) bool { return r.voter }); len(learners) > 0 {
			return g.worst(learners)
		}
	}
	return g.worst(kept)
}

// movable: a single voter that moves between the only two nodes would look like two
// voters to be kept, once both vote.
func (w *world) movable(g *group) bool { return w.most(g, false) != 2 || w.goal(g, false) == 2 }

// worst is the replica whose leaving leaves the best spread: over zones, then over
// nodes. It decides about moves before they begin and when they end.
func (g *group) worst(kept []*replica) *replica {
	in := zones(kept)
	return slices.MinFunc(kept, func(a, b *replica) int {
		return cmp.Or(
			-compare(in[a.node.zone], in[b.node.zone]),
			yes(a.node.alive)-yes(b.node.alive),
			yes(a.node.noLeader() == "")-yes(b.node.noLeader() == ""),
			-compare(a.node.load, b.node.load),
			yes(a.voter)-yes(b.voter),
			yes(a.id == g.leader)-yes(b.id == g.leader),
			-compare(a.id, b.id),
		)
	})
}

func yes(b bool) int {
	if b {
		return 1
	}
	return 0
}
