package placement

import (
	"cmp"
	"fmt"
	"slices"
)

func compare[T cmp.Ordered](a, b T) int { return cmp.Compare(a, b) }

// goal is the number of voters that a group can have on nodes that keep them: its
// factor, or what the nodes allow. With soon, nodes count that may be eligible
// again.
//
// An even number survives no more failures than the odd one below, and fails more
// often: it is never grown to. Two voters are kept where there were more: they are
// two copies of the data, one is one.
func (w *world) goal(g *group, soon bool) int {
	most := w.most(g, soon)
	voters, _ := g.count()
	if most%2 == 1 || most == 0 || most == 2 && (votersOf(g.kept()) >= 2 || voters > 2) {
		return most
	}
	return most - 1
}

// most is the number of replicas that the nodes allow, at most the factor.
func (w *world) most(g *group, soon bool) int {
	usable := 0
	for _, n := range w.nodes {
		keeps := func(r *replica) bool { return r.node == n }
		if n.eligible() || soon && n.hopeful() || slices.ContainsFunc(g.kept(), keeps) {
			usable++
		}
	}
	return min(g.factor, usable)
}

// need describes a group that lacks voters, or has too many.
type need struct {
	g     *group
	class int
	why   string
}

// Classes of needs, most urgent first.
const (
	repair = iota
	retire
	grow
)

// begin begins new steps: what is most urgent first, within what the cluster bears.
func (w *world) begin() {
	if !w.settled {
		w.note("the controller gathers reports for %v more before it begins anything", rounded(w.c.Settle-w.Now.Sub(w.Since)))
		return
	}
	var needs []need
	for _, g := range w.groups {
		if !w.busy[g.id] && !w.dismiss(g) {
			if n, some := w.need(g); some {
				needs = append(needs, n)
			}
		}
	}
	slices.SortStableFunc(needs, func(a, b need) int {
		slackOf := func(n need) int { voters, alive := n.g.count(); return slack(voters, alive) }
		return cmp.Or(compare(a.class, b.class), compare(slackOf(a), slackOf(b)))
	})
	for _, n := range needs {
		w.add(n)
	}
	if len(needs) == 0 {
		w.balanceReplicas()
	}
}

// need is what a group lacks.
func (w *world) need(g *group) (need, bool) {
	n := need{g: g, class: grow, why: "the group has fewer voters than wanted"}
	for _, r := range g.rows {
		switch {
		case r.role == leavingRole || r.trouble() == "":
		case r.broken() && !r.gone():
			if n.class > repair {
				n.class, n.why = repair, r.trouble()
			}
		case n.class > retire:
			n.class, n.why = retire, r.trouble()
		}
	}
	add := w.goal(g, false) - len(g.kept())
	if add <= 0 && n.class == repair {
		w.note("group %d: %s; %s", g.id, n.why, w.noTarget(g))
	}
	return n, add > 0
}

// add places one learner of a group, if one may be.
func (w *world) add(n need) {
	if w.adding >= w.c.AddsMax {
		w.note("group %d: %s; waits, since %d replicas catch up already", n.g.id, n.why, w.adding)
		return
	}
	to := w.target(n.g)
	if to == nil {
		w.note("group %d: %s; %s", n.g.id, n.why, w.noTarget(n.g))
		return
	}
	w.addReplica(n.g, to, "%s", n.why)
}

func (w *world) addReplica(g *group, to *node, format string, args ...any) {
	w.act(Action{Kind: AddReplica, Group: g.id, Node: to.id}, format, args...)
	w.adding++
	to.load++
}

// target is the best node for another replica of a group; nil if there is none.
func (w *world) target(g *group) *node {
	return best(w.nodes, zones(g.kept()), func(n *node) bool { return n.eligible() && !g.occupied(n.id) })
}

// best chooses a node: the emptiest zone, then the fewest replicas.
func best(nodes []*node, zones map[string]int, allowed func(*node) bool) *node {
	var chosen *node
	for _, n := range nodes {
		if !allowed(n) {
			continue
		}
		if chosen == nil || cmp.Or(compare(zones[n.zone], zones[chosen.zone]), compare(n.load, chosen.load), compare(n.id, chosen.id)) < 0 {
			chosen = n
		}
	}
	return chosen
}

// zones counts replicas by zone.
func zones(rows []*replica) map[string]int {
	out := map[string]int{}
	for _, r := range rows {
		if r.node != nil {
			out[r.node.zone]++
		}
	}
	return out
}

const noTarget = "no node can take another replica"

// noTarget says why no node can take a replica.
func (w *world) noTarget(g *group) string {
	out := noTarget
	for _, n := range w.nodes {
		if n.gone() || g.occupied(n.id) {
			continue
		}
		if why := n.unfit(); why != "" {
			out += fmt.Sprintf("; not %s: %s", n.id, why)
		}
	}
	return out
}
