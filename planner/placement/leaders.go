package placement

import (
	"cmp"
	"slices"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// weight is what a leader costs its node. Those of streams carry every query and
// every new block.
func (g *group) weight() int {
	if g.streams {
		return 2
	}
	return 1
}

// heir is the best voter to take over the lead from another; nil if none has caught
// up on a node that may lead.
func (w *world) heir(g *group, from *replica) *replica {
	var heirs []*replica
	for _, r := range g.rows {
		if r != from && w.mayLead(g, r) {
			heirs = append(heirs, r)
		}
	}
	if len(heirs) == 0 {
		return nil
	}
	return slices.MinFunc(heirs, func(a, b *replica) int {
		return cmp.Or(compare(a.node.leads, b.node.leads), compare(a.id, b.id))
	})
}

func (w *world) mayLead(g *group, r *replica) bool {
	return r.role == voterRole && r.voter && r.alive() && r.node.noLeader() == "" && g.caughtUp(r, w.c.GapMax)
}

func (w *world) transfer(g *group, to *replica, format string, args ...any) {
	if from := g.replicas[g.leader]; from != nil && from.node != nil {
		from.node.leads -= g.weight()
	}
	to.node.leads += g.weight()
	w.act(Action{Kind: TransferLeader, Group: g.id, Replica: to.id, Node: to.nodeID}, format, args...)
}

// evacuate moves leaders off nodes that must not lead. The directory's goes last:
// the controller goes with it.
func (w *world) evacuate() {
	moved := 0
	order := slices.Clone(w.groups)
	slices.SortStableFunc(order, func(a, b *group) int { return yes(a.id == DirectoryGroup) - yes(b.id == DirectoryGroup) })
	for _, g := range order {
		from := g.leading()
		if from == nil || w.transferred(g) || from.node.noLeader() == "" {
			continue
		}
		to := w.heir(g, from)
		switch {
		case to == nil:
			w.note("group %d is led by replica %d though %s: nobody else has caught up and may lead", g.id, from.id, from.node.noLeader())
		case moved == w.c.EvacuationsMax:
			w.note("group %d is led by replica %d though %s: waits, %d leaders move already", g.id, from.id, from.node.noLeader(), moved)
		default:
			w.transfer(g, to, "%s", from.node.noLeader())
			moved++
		}
	}
}

// stepped groups have an action in this plan.
func (w *world) stepped(g *group) bool {
	return slices.ContainsFunc(w.actions, func(a Action) bool { return a.Group == g.id })
}

func (w *world) transferred(g *group) bool {
	return slices.ContainsFunc(w.actions, func(a Action) bool { return a.Group == g.id && a.Kind == TransferLeader })
}

// balanceLeaders moves leaders between nodes that may lead. Each move makes the sum
// of squared loads smaller, by twice its gain: so there is a last one.
func (w *world) balanceLeaders() {
	if w.settings.GetLeaderBalanceOff() || !w.settled {
		return
	}
	for range w.c.BalanceMax {
		var of *group
		var to *replica
		gain := 0
		for _, g := range w.groups {
			from := g.leading()
			// A move of the directory's leader ends this controller's work.
			if from == nil || g.id == DirectoryGroup || g.state == clusterv1.GroupState_GROUP_STATE_CREATING ||
				w.stepped(g) || from.node.noLeader() != "" {
				continue
			}
			heir := w.seasonedHeir(g, from)
			if heir == nil {
				continue
			}
			if by := g.weight() * (from.node.leads - heir.node.leads - g.weight()); by > gain {
				of, to, gain = g, heir, by
			}
		}
		if of == nil {
			return
		}
		from := of.leading()
		w.transfer(of, to, "node %s leads %d, this one %d", from.nodeID, from.node.leads, to.node.leads)
	}
}

func (w *world) seasonedHeir(g *group, from *replica) *replica {
	var chosen *replica
	for _, r := range g.rows {
		if r != from && w.mayLead(g, r) && r.node.seasoned && (chosen == nil || r.node.leads < chosen.node.leads) {
			chosen = r
		}
	}
	return chosen
}
