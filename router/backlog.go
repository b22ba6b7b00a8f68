package router

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// A hint is asked for again after that time.
	hintAge = 5 * time.Second
	// A group that failed is left alone for that time.
	failureRest = 2 * time.Second
	// A group of which an offer got nothing is offered nothing for that time: what
	// is not due now is hardly due at once. For the longer time it comes after all
	// others: it may be paused, or its blocks wait after failures.
	dryRest     = time.Second
	dryRestLong = 10 * time.Second
	// Work that waits that long without an offer is no longer left behind more
	// urgent work of other groups: it gets one slot of overdueShare.
	patience     = 30 * time.Second
	overdueShare = 4
)

// dueAfter is when the blocks of a level are due for sure, even if few: a little
// longer than groups wait for more. A guess serves: it only decides who is asked
// first.
func dueAfter(level uint32) time.Duration {
	switch level {
	case 0:
		return 45 * time.Second
	case 1:
		return 13 * time.Minute
	default:
		return 3*time.Hour + 5*time.Minute
	}
}

// backlogs is what a router knows of the work that waits in groups: what they said
// last, less what is offered to them right now. It is a guess that groups correct;
// losing it costs nothing but probes.
type backlogs struct {
	mu     sync.Mutex
	m      *clusterv1.Map // the map that groups follows
	groups map[uint64]*backlog
	// Slots offered since overdue work got one.
	turn int
}

// backlog is one group's.
type backlog struct {
	levels []*nodev1.LevelBacklog // lowest level first
	// When the group said so; zero if it is not known, or has failed since.
	learnt time.Time
	// A probe is under way.
	probing bool
	// Slots under offer, by polls that are not over.
	claimed int
	// Since when work waits without an offer; zero if none does.
	waiting time.Time
	// The last offer that led to nothing, and the last call that failed.
	dry, failure time.Time
}

// claim is an offer of slots to a group.
type claim struct {
	group uint64
	slots int
}

func newBacklogs() *backlogs { return &backlogs{groups: map[uint64]*backlog{}} }

// follow adds groups that own ranges and forgets those that do not.
func (b *backlogs) follow(m *clusterv1.Map) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == m {
		return
	}
	b.m = m
	ids := owners(m)
	for _, id := range ids {
		if b.groups[id] == nil {
			b.groups[id] = &backlog{}
		}
	}
	maps.DeleteFunc(b.groups, func(id uint64, _ *backlog) bool {
		_, owns := slices.BinarySearch(ids, id)
		return !owns
	})
}

// stale returns groups to probe, those first that were not heard of for longest;
// learn or failed must follow for each.
func (b *backlogs) stale(most int) []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var found []uint64
	for id, g := range b.groups {
		if !g.probing && now.Sub(g.learnt) >= hintAge && now.Sub(g.failure) >= failureRest {
			found = append(found, id)
		}
	}
	heard := func(id uint64) time.Time {
		if g := b.groups[id]; g.failure.After(g.learnt) {
			return g.failure
		}
		return b.groups[id].learnt
	}
	slices.SortFunc(found, func(x, y uint64) int { return cmp.Or(heard(x).Compare(heard(y)), cmp.Compare(x, y)) })
	found = found[:min(len(found), most)]
	for _, id := range found {
		b.groups[id].probing = true
	}
	return found
}

// learn takes in what a group said.
func (b *backlogs) learn(group uint64, levels []*nodev1.LevelBacklog) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.groups[group]; g != nil {
		g.learn(levels)
	}
}

func (g *backlog) learn(levels []*nodev1.LevelBacklog) {
	now := time.Now()
	if jobsOf(levels) > jobsOf(g.levels) {
		g.dry = time.Time{}
	}
	g.levels = slices.SortedFunc(slices.Values(levels), func(x, y *nodev1.LevelBacklog) int { return cmp.Compare(x.GetLevel(), y.GetLevel()) })
	g.learnt, g.failure, g.probing = now, time.Time{}, false
	switch work := slices.ContainsFunc(levels, func(l *nodev1.LevelBacklog) bool { return l.GetJobsWaiting() > 0 || blocksOf(l) > 0 }); {
	case !work:
		g.waiting = time.Time{}
	case g.waiting.IsZero():
		g.waiting = now
	}
}

func blocksOf(l *nodev1.LevelBacklog) uint64 {
	return l.GetBlocksQueued() + min(l.GetBlocksReturned(), math.MaxUint64-l.GetBlocksQueued())
}

// offered ends a claim that the group answered, and tells whether it led to
// anything: jobs, or new ones for the next offer.
func (b *backlogs) offered(c claim, taken int, levels []*nodev1.LevelBacklog) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[c.group]
	if g == nil {
		return taken > 0
	}
	before := jobsOf(g.levels)
	g.claimed = max(0, g.claimed-c.slots)
	g.learn(levels)
	useful := taken > 0 || jobsOf(levels) > before
	if g.dry = (time.Time{}); !useful {
		g.dry = time.Now()
	}
	return useful
}

func jobsOf(levels []*nodev1.LevelBacklog) (jobs uint64) {
	for _, l := range levels {
		jobs += l.GetJobsWaiting()
	}
	return jobs
}

// failed ends a claim, or a probe, that the group did not answer. It is offered
// nothing until it does answer.
func (b *backlogs) failed(c claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.groups[c.group]; g != nil {
		g.claimed = max(0, g.claimed-c.slots)
		g.learnt, g.failure, g.probing = time.Time{}, time.Now(), false
	}
}

// want is a reason to offer slots to a group.
type want struct {
	group uint64
	level uint32
	// Jobs wait; else blocks.
	jobs bool
	// An offer hardly comes back empty.
	sure    bool
	claimed int
	oldest  int64
	slots   int
}

// order puts waiting jobs before blocks of the same level, whose jobs only a later
// offer brings, and what may lead to nothing behind everything.
func (w want) order(v want) int {
	return cmp.Or(
		first(w.sure, v.sure),
		cmp.Compare(w.level, v.level),
		first(w.jobs, v.jobs),
		// Polls at the same time shall not ask the same group.
		cmp.Compare(w.claimed, v.claimed),
		cmp.Compare(w.oldest, v.oldest),
		cmp.Compare(w.group, v.group),
	)
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// same tells whether wants share what is left, instead of one coming first. What
// surely leads to jobs is not spread: each group's part costs it a Raft entry.
func (w want) same(v want) bool {
	return !w.sure && !v.sure && !w.jobs && !v.jobs && w.level == v.level
}

// claim divides slots among groups, never more than there are. asked counts the
// offers of this poll; a round of a poll is its first or not. Each claim must be
// ended by offered or failed.
func (b *backlogs) claim(slots int, asked map[uint64]int, firstRound bool) []claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	shares := map[uint64]int{}
	left := slots
	give := func(group uint64, n int) {
		shares[group] += n
		left -= n
	}
	if firstRound {
		for _, group := range b.overdue(slots, now) {
			give(group, 1)
		}
	}
	wants := b.wants(asked, now)
	for i := 0; i < len(wants) && left > 0; {
		next := i + 1
		for next < len(wants) && wants[next].same(wants[i]) {
			next++
		}
		share(wants[i:next], left, give)
		i = next
	}
	var claims []claim
	for _, id := range slices.Sorted(maps.Keys(shares)) {
		b.groups[id].claimed += shares[id]
		b.groups[id].waiting = time.Time{}
		claims = append(claims, claim{id, shares[id]})
	}
	return claims
}

// share gives each want one slot after the other, until they have what they can
// use or nothing is left.
func share(wants []want, left int, give func(uint64, int)) {
	for level := 0; left > 0; {
		open, least := 0, math.MaxInt
		for _, w := range wants {
			if w.slots > level {
				open++
				least = min(least, w.slots-level)
			}
		}
		if open == 0 {
			return
		}
		step := max(1, min(least, left/open))
		for _, w := range wants {
			if w.slots > level && left > 0 {
				n := min(step, left)
				give(w.group, n)
				left -= n
			}
		}
		level += step
	}
}

// overdue returns the groups that get a slot whatever waits elsewhere.
func (b *backlogs) overdue(slots int, now time.Time) []uint64 {
	var found []uint64
	for id, g := range b.groups {
		if !g.learnt.IsZero() && !g.waiting.IsZero() && now.Sub(g.waiting) > patience {
			found = append(found, id)
		}
	}
	// Credit is not saved up for later.
	b.turn = min(b.turn+slots, slots+overdueShare-1)
	slices.SortFunc(found, func(x, y uint64) int {
		return cmp.Or(b.groups[x].waiting.Compare(b.groups[y].waiting), cmp.Compare(x, y))
	})
	found = found[:min(len(found), b.turn/overdueShare)]
	b.turn -= len(found) * overdueShare
	return found
}

// wants lists what is worth an offer, the most urgent first.
func (b *backlogs) wants(asked map[uint64]int, now time.Time) []want {
	var wants []want
	for id, g := range b.groups {
		if g.learnt.IsZero() || asked[id] >= offersEach || now.Sub(g.dry) < dryRest {
			continue
		}
		claimed, fruitful := uint64(g.claimed), now.Sub(g.dry) >= dryRestLong
		for _, l := range g.levels {
			w := want{group: id, level: l.GetLevel(), oldest: l.GetOldest()}
			jobs := l.GetJobsWaiting()
			under := min(jobs, claimed)
			jobs, claimed = jobs-under, claimed-under
			if jobs > 0 {
				w.jobs, w.sure, w.slots = true, fruitful, bounded(jobs)
				wants = append(wants, w)
			}
			if blocks := blocksOf(l); blocks > 0 && asked[id] == 0 {
				waited := now.Sub(time.Unix(0, l.GetOldest()))
				w.jobs, w.slots, w.claimed = false, bounded(blocks), g.claimed
				w.sure = fruitful && l.GetOldest() > 0 && waited > dueAfter(l.GetLevel())
				wants = append(wants, w)
			}
		}
	}
	slices.SortFunc(wants, want.order)
	return wants
}

// bounded makes a number that sums of which stay numbers.
func bounded(n uint64) int { return int(min(n, pollSlotsMax)) }
