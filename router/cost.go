package router

import (
	"cmp"
	"slices"
	"sync"
	"time"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Groups that an explanation lists: it travels in a trailer, and connections
// bound those.
const explainedGroups = 200

// tally adds up what one request cost. Methods of a nil tally do nothing.
type tally struct {
	start time.Time

	mu       sync.Mutex
	retries  uint32
	reroutes uint32
	rounds   uint32 // without the first
	groups   map[uint64]*groupTally
}

// groupTally is one group's share.
type groupTally struct {
	node     string
	calls    uint32
	answered bool
	elapsed  time.Duration
	cost     nodev1.QueryCost
}

func newTally() *tally { return &tally{start: time.Now(), groups: map[uint64]*groupTally{}} }

// called counts a call to a node that ended.
func (t *tally) called(group uint64, node string, elapsed time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	if g == nil {
		g = &groupTally{}
		t.groups[group] = g
	}
	g.node = node
	g.calls++
	g.elapsed += elapsed
}

// answered adds what a group says its answer cost.
func (t *tally) answered(group uint64, cost *nodev1.QueryCost) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	if g == nil {
		g = &groupTally{}
		t.groups[group] = g
	}
	g.answered = true
	g.cost.Add(cost)
}

// judged counts what the router does about a call's outcome.
func (t *tally) judged(a action) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch a {
	case repeat, elsewhere, relieve:
		t.retries++
	case reroute:
		t.reroutes++
	}
}

// again counts a round of reads after the first.
func (t *tally) again() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds++
}

// explain sums up. The request must have ended.
func (t *tally) explain() *adminv1.QueryExplanation {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &adminv1.QueryExplanation{
		Cost: &nodev1.QueryCost{}, Retries: t.retries, Reroutes: t.reroutes, ExtraRounds: t.rounds, Elapsed: int64(time.Since(t.start)),
	}
	for id, g := range t.groups {
		e.Cost.Add(&g.cost)
		e.NodeCalls += g.calls
		if g.answered {
			e.GroupsAsked++
		}
		e.Groups = append(e.Groups, &adminv1.GroupExplanation{
			GroupId: id, NodeId: g.node, Cost: &g.cost, NodeCalls: g.calls, Elapsed: int64(g.elapsed),
		})
	}
	slices.SortFunc(e.Groups, func(a, b *adminv1.GroupExplanation) int {
		return cmp.Or(cmp.Compare(b.Elapsed, a.Elapsed), cmp.Compare(a.GroupId, b.GroupId))
	})
	e.Groups = e.Groups[:min(len(e.Groups), explainedGroups)]
	slices.SortFunc(e.Groups, func(a, b *adminv1.GroupExplanation) int { return cmp.Compare(a.GroupId, b.GroupId) })
	return e
}
