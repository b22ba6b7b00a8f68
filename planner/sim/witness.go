package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
)

// witness keeps its own books about a fleet, from what is added and applied, and
// compares them with the tables. Its rules are written the slow and plain way.
type witness struct {
	*fleet
	// Blocks below the top level that were added and not replaced.
	waiting map[string]bool
	// When tombstones were made, and which of them are not carried out.
	made map[string]planner.Time
	// Who was granted what.
	grants map[string]holder
	// The highest token of each job that ever was.
	tokens map[string]uint64
	token  uint64
}

type holder struct {
	token     uint64
	expiresAt planner.Time
}

func newWitness(f *fleet) *witness {
	return &witness{
		fleet: f, waiting: map[string]bool{}, made: map[string]planner.Time{},
		grants: map[string]holder{}, tokens: map[string]uint64{},
	}
}

func (w *witness) added(id string, level uint32) {
	if int(level) < len(w.Config.Compaction.Levels) {
		w.waiting[id] = true
	}
}

// applied books a decision. jobs is the number of jobs before it.
func (w *witness) applied(d schedule.Decision, jobs int) error {
	for _, grant := range d.Renew {
		if held := w.grants[grant.Was.Name]; held.token != grant.Token {
			return fmt.Errorf("two holders: job %s is renewed for token %d, held by %d", grant.Was.Name, grant.Token, held.token)
		}
		w.grants[grant.Was.Name] = holder{grant.Token, grant.ExpiresAt}
	}
	for _, c := range d.Complete {
		delete(w.grants, c.Was.Name)
		for _, id := range slices.Concat(c.Sources, c.Missing) {
			delete(w.waiting, id)
		}
		for _, block := range c.NewBlocks {
			w.added(block.GetId(), block.GetCompactionLevel())
		}
		for _, name := range c.Tombstones {
			delete(w.made, name)
		}
		if len(c.Sources) > 0 {
			w.made[c.Was.Name] = w.tables.Now
		}
	}
	for _, failure := range d.Fail {
		delete(w.grants, failure.Was.Name)
	}
	for _, up := range d.GiveUp {
		if held, found := w.grants[up.Was.Name]; found && held.expiresAt >= d.Now && up.Reason.Code != planner.BadResult {
			return fmt.Errorf("two holders: job %s is taken apart, leased until %v", up.Was.Name, held.expiresAt)
		}
		delete(w.grants, up.Was.Name)
	}
	for _, grant := range d.Assign {
		if err := w.assigned(d.Now, grant); err != nil {
			return err
		}
	}
	for _, job := range d.Create {
		for _, name := range job.Tombstones {
			if age := d.Now.Sub(w.made[name]); age <= Delay {
				return fmt.Errorf("tombstone early: %s is handed out after %v", name, age)
			}
		}
	}
	if limit := JobsMax; len(w.tables.jobs) > max(limit, jobs) {
		return fmt.Errorf("queue unbounded: %d jobs, at most %d", len(w.tables.jobs), limit)
	}
	return nil
}

func (w *witness) assigned(now planner.Time, grant schedule.Grant) error {
	name := grant.Was.Name
	if held, found := w.grants[name]; found && held.expiresAt >= now {
		return fmt.Errorf("two holders: job %s is assigned at %v, leased until %v", name, now, held.expiresAt)
	}
	if grant.Token <= w.tokens[name] || grant.Token <= w.token {
		return fmt.Errorf("token repeated: job %s gets %d, had %d; the last was %d", name, grant.Token, w.tokens[name], w.token)
	}
	w.tokens[name], w.token = grant.Token, grant.Token
	w.grants[name] = holder{grant.Token, grant.ExpiresAt}
	return nil
}

// state compares the tables with the books.
func (w *witness) state() error {
	inJobs, elsewhere := map[string]int{}, map[string]int{}
	tombstones := map[string]int{}
	for _, job := range w.tables.jobs {
		for _, id := range job.plan.Sources {
			inJobs[id]++
		}
		for _, name := range job.plan.Tombstones {
			tombstones[name]++
		}
	}
	for _, queue := range w.tables.queues {
		for _, place := range queue.places.rows {
			elsewhere[place.ID]++
		}
	}
	for level := range w.tables.returned {
		for _, batch := range w.tables.returned[level].rows {
			for _, id := range batch.Blocks {
				elsewhere[id]++
			}
		}
	}
	for _, free := range w.tables.free.rows {
		tombstones[free.Name]++
	}
	for _, id := range slices.Sorted(maps.Keys(inJobs)) {
		if inJobs[id] > 1 {
			return fmt.Errorf("two jobs: block %s is in %d jobs", id, inJobs[id])
		}
		if elsewhere[id] > 0 {
			return fmt.Errorf("two jobs: block %s is in a job and waits for another", id)
		}
	}
	for id := range w.waiting {
		if inJobs[id]+elsewhere[id] != 1 {
			return fmt.Errorf("forgotten: block %s is in %d jobs and waits %d times", id, inJobs[id], elsewhere[id])
		}
	}
	for name := range w.made {
		if tombstones[name] != 1 {
			return fmt.Errorf("tombstone lost: %s is held %d times", name, tombstones[name])
		}
	}
	return nil
}

// decision compares a decision with the plain rules, on the state it was made on.
func (w *witness) decision(d schedule.Decision, request schedule.Request) error {
	changed := map[string]bool{}
	for _, ref := range refs(schedule.Decision{Renew: d.Renew, Complete: d.Complete, Fail: d.Fail, GiveUp: d.GiveUp}) {
		changed[ref.Name] = true
	}
	if err := w.fenced(d, request); err != nil {
		return err
	}
	if err := w.priorities(d, changed); err != nil {
		return err
	}
	for _, job := range d.Create {
		if err := w.noneBelow(d, job); err != nil {
			return err
		}
	}
	evicted := slices.ContainsFunc(d.GiveUp, func(up schedule.GiveUp) bool { return up.Reason.Code == planner.Evicted })
	if room := JobsMax - len(w.tables.jobs); len(d.Create) < min(d.Slots, room) && !evicted {
		if what, due := w.due(d, len(w.Config.Compaction.Levels)); due {
			return fmt.Errorf("no progress: %d jobs for %d slots, but %s is due", len(d.Create), d.Slots, what)
		}
	}
	return nil
}

// fenced demands that only the owner's reports count.
func (w *witness) fenced(d schedule.Decision, request schedule.Request) error {
	for _, ref := range refs(schedule.Decision{Renew: d.Renew, Complete: d.Complete, Fail: d.Fail}) {
		state := w.tables.jobs[ref.Name].state
		owned := slices.ContainsFunc(request.Updates, func(update schedule.Update) bool {
			return update.Name == ref.Name && update.Token == state.Token
		})
		if !owned || state.Status != schedule.InProgress {
			return fmt.Errorf("two holders: a report about job %s counts, but not from its owner", ref.Name)
		}
	}
	return nil
}

// priorities demands that the assigned jobs are the first of all that could be.
func (w *witness) priorities(d schedule.Decision, changed map[string]bool) error {
	var could []schedule.Job
	for _, job := range w.tables.jobs {
		state := job.state
		idle := state.Status == schedule.Unassigned || state.LeaseExpiresAt < d.Now
		if idle && !changed[state.Name] && state.Failures < w.Config.FailuresMax {
			could = append(could, state)
		}
	}
	for _, grant := range d.Assign {
		if !slices.ContainsFunc(could, func(job schedule.Job) bool { return job.Name == grant.Was.Name }) {
			return fmt.Errorf("two holders: job %s is assigned, but not free", grant.Was.Name)
		}
	}
	slices.SortFunc(could, compareJobs)
	could = could[:min(len(could), d.Slots)]
	if len(could) != len(d.Assign) {
		return fmt.Errorf("no progress: %d jobs assigned of %d that could be", len(d.Assign), len(could))
	}
	for i, job := range could {
		if got := d.Assign[i].Was.Name; got != job.Name {
			return fmt.Errorf("order: assigned %s before %s", got, job.Name)
		}
	}
	return nil
}

// noneBelow demands that nothing of a lower level than a job's is due.
func (w *witness) noneBelow(d schedule.Decision, job compaction.Job) error {
	if len(job.Sources) == 0 {
		return nil
	}
	if what, due := w.due(d, int(job.Level)); due {
		return fmt.Errorf("order: a job of level %d is created, but %s is due", job.Level, what)
	}
	return nil
}

// due finds something of the levels below that should be in a job now, but is in
// none of a decision's.
func (w *witness) due(d schedule.Decision, below int) (what string, due bool) {
	taken := map[string]bool{}
	for _, job := range d.Create {
		for _, id := range job.Sources {
			taken[id] = true
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(w.tables.queues), func(a, b queueID) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.shard, b.shard))
	}) {
		queue := w.tables.queues[id]
		if int(id.level) >= below || id.level == 0 && w.tables.Full[id.shard] {
			continue
		}
		rules := w.Config.Compaction.Levels[id.level]
		left := slices.DeleteFunc(slices.Clone(queue.places.rows), func(place compaction.Place) bool { return taken[place.ID] })
		if len(left) >= rules.BlocksMax || len(left) > 0 && left[0].At.Add(rules.AgeMax) < d.Now {
			return fmt.Sprintf("tenant %q, shard %d, level %d", id.tenant, id.shard, id.level), true
		}
	}
	for level := range below {
		for _, batch := range w.tables.returned[level].rows {
			if batch.NotBefore <= d.Now && !taken[batch.Blocks[0]] && !(level == 0 && w.tables.Full[batch.Shard]) {
				return "batch " + batch.Name(), true
			}
		}
	}
	return "", false
}

// idle tells that nothing is left to do.
func (w *witness) idle() bool { return len(w.waiting)+len(w.made) == 0 && len(w.tables.jobs) == 0 }

func (w *witness) left() string {
	return fmt.Sprintf("%d blocks wait, %d jobs, %d tombstones", len(w.waiting), len(w.tables.jobs), len(w.made))
}
