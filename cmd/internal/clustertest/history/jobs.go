package history

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// Grant is a job that a worker was given.
type Grant struct {
	Job   string
	Token uint64
	// Whose tokens grow together, such as a Raft group's; "" if unknown. Those of
	// one job always do.
	Counter      string
	Call, Return int64
}

// Completion is a reported success, an attempt each.
type Completion struct {
	Job          string
	Token        uint64
	Call, Return int64
}

// Sighting is an answer that held what a completion made.
type Sighting struct {
	Job          string
	Token        uint64 // of the completion
	Call, Return int64
}

// Jobs is a history of compaction jobs. Methods may be called concurrently;
// Check judges what was recorded before. Grants that nobody heard of, since an
// answer was lost, are no part of it, and need not be.
type Jobs struct {
	grants      log[Grant]
	completions log[Completion]
	sightings   log[Sighting]
}

// Grant records that a worker was given a job.
func (j *Jobs) Grant(g Grant) { j.grants.record(g) }

// Complete records that a worker reported a success.
func (j *Jobs) Complete(c Completion) { j.completions.record(c) }

// See records that an answer held a completion's result.
func (j *Jobs) See(s Sighting) { j.sightings.record(s) }

// Rules that Jobs.Check looks for.
const (
	RuleTokenTwice   = "token given twice"
	RuleTokenOrder   = "tokens do not grow"
	RuleTwoResults   = "two results of one job"
	RuleFenced       = "result of a lost job was taken"
	RuleGivenAgain   = "completed job was given again"
	RuleResultUnborn = "result that nobody reported"
)

// JobsReport is a verdict, and how much it stands on.
type JobsReport struct {
	Violations
	Jobs, Grants, Completions int
	// Jobs whose result was seen, and those that were given more than once.
	Results, Regranted int
}

// job is all about one job.
type job struct {
	grants      []Grant
	completions []Completion
	seen        map[uint64]int64 // by token, when the first answer ended
}

// Check judges the history. Owners are told apart by tokens: whoever has an old
// one lost the job, and a job is done once, by the token that owned it.
func (j *Jobs) Check() JobsReport {
	r := JobsReport{Grants: len(j.grants.list()), Completions: len(j.completions.list())}
	byJob, byCounter := j.collect()
	r.Jobs = len(byJob)
	for _, counter := range slices.Sorted(maps.Keys(byCounter)) {
		r.order("counter "+counter, byCounter[counter])
	}
	for _, name := range slices.Sorted(maps.Keys(byJob)) {
		one := byJob[name]
		r.order("job "+name, one.grants)
		r.once(name, one.grants)
		if len(one.grants) > 1 {
			r.Regranted++
		}
		if len(one.seen) > 0 {
			r.Results++
		}
		if len(one.seen) > 1 {
			r.add(RuleTwoResults, "job %s: those of tokens %d", name, slices.Sorted(maps.Keys(one.seen)))
		}
		for _, token := range slices.Sorted(maps.Keys(one.seen)) {
			r.winner(name, one, token)
		}
	}
	return r
}

func (j *Jobs) collect() (map[string]*job, map[string][]Grant) {
	byJob, byCounter := map[string]*job{}, map[string][]Grant{}
	of := func(name string) *job {
		if byJob[name] == nil {
			byJob[name] = &job{seen: map[uint64]int64{}}
		}
		return byJob[name]
	}
	for _, g := range j.grants.list() {
		of(g.Job).grants = append(of(g.Job).grants, g)
		if g.Counter != "" {
			byCounter[g.Counter] = append(byCounter[g.Counter], g)
		}
	}
	for _, c := range j.completions.list() {
		of(c.Job).completions = append(of(c.Job).completions, c)
	}
	for _, s := range j.sightings.list() {
		first, again := of(s.Job).seen[s.Token]
		if !again || s.Return < first {
			of(s.Job).seen[s.Token] = s.Return
		}
	}
	return byJob, byCounter
}

func (r *JobsReport) once(name string, grants []Grant) {
	seen := map[uint64]Grant{}
	for _, g := range grants {
		if first, again := seen[g.Token]; again {
			r.add(RuleTokenTwice, "job %s, token %d, in [%s, %s] and in [%s, %s]", name, g.Token, at(first.Call), at(first.Return), at(g.Call), at(g.Return))
		}
		seen[g.Token] = g
	}
}

// order demands that a grant that began after another one ended has a larger
// token.
func (r *JobsReport) order(what string, grants []Grant) {
	byCall := slices.SortedFunc(slices.Values(grants), func(a, b Grant) int { return cmp.Compare(a.Call, b.Call) })
	byReturn := slices.SortedFunc(slices.Values(grants), func(a, b Grant) int { return cmp.Compare(a.Return, b.Return) })
	var last Grant // the largest token among those that ended before the call
	ended := 0
	for _, g := range byCall {
		for ; ended < len(byReturn) && byReturn[ended].Return < g.Call; ended++ {
			if byReturn[ended].Token > last.Token {
				last = byReturn[ended]
			}
		}
		if last.Token > g.Token || last.Token == g.Token && last.Job != g.Job {
			r.add(RuleTokenOrder, "%s: token %d was given for job %s in [%s, %s], token %d for job %s before, in [%s, %s]", what,
				g.Token, g.Job, at(g.Call), at(g.Return), last.Token, last.Job, at(last.Call), at(last.Return))
		}
	}
}

// winner judges the completion whose result was seen.
func (r *JobsReport) winner(name string, one *job, token uint64) {
	called, done := int64(math.MaxInt64), one.seen[token]
	for _, c := range one.completions {
		if c.Token != token {
			continue
		}
		called = min(called, c.Call)
		if c.Return != Unknown {
			done = min(done, c.Return)
		}
	}
	if called > one.seen[token] {
		r.add(RuleResultUnborn, "job %s, token %d: seen at %s", name, token, at(one.seen[token]))
	}
	for _, g := range one.grants {
		switch {
		case g.Call > done:
			r.add(RuleGivenAgain, "job %s: done with token %d by %s, given with token %d at %s", name, token, at(done), g.Token, at(g.Call))
		case g.Token > token:
			// Whichever of both came first, the second one was wrong.
			r.add(RuleFenced, "job %s: the result of token %d was taken, reported at %s; token %d was given in [%s, %s]",
				name, token, at(called), g.Token, at(g.Call), at(g.Return))
		}
	}
}
